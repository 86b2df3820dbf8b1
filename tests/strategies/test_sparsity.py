from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from lessons import a_model
from reference.lora import Pair
from reference.sparsity import share_near_zero, sparsity
from torch import nn

from plora.adapters import Adapters, LoRA
from plora.config import RunConfig
from plora.gates import AllOnes
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.moment import Moment
from plora.runs import load_run, run
from plora.strategies import Sparsity, SparsitySettings
from plora.testing.tiny import tiny_model

START = Moment(task=1, step=0, total=10, epoch=0)


def pairs(model: ContinualModel, name: str) -> list[Pair]:
    assert model.adapters is not None
    slot = model.adapters[name]
    return [
        Pair(*(m[path].detach().double().numpy() for m in (slot.A, slot.B)), slot.shapes[path].scale) for path in slot.A
    ]


@pytest.mark.parametrize("seed", range(6))
def test_random_slots_against_the_loop_over_entries(seed: int) -> None:
    """Layers of unequal size; an old slot, which does not count, and a new one of any rank and scale."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    widths = rng.integers(3, 9, size=4).tolist()
    network = nn.Sequential(*(nn.Linear(*pair) for pair in pairwise(widths)))
    adapters = Adapters.inject(network, "all_linear")
    model = ContinualModel(network, tiny_model(AllOnes()).problem, LinearHead(widths[-1]), adapters, AllOnes())
    for name in ("old", "new"):
        slot = adapters.open_task(name, LoRA(rank=int(rng.integers(1, 4)), alpha=float(rng.uniform(0.5, 6))))
        for matrix in (*slot.A.values(), *slot.B.values()):
            nn.init.normal_(matrix)
            matrix.data[:, torch.rand(matrix.shape[1]) < 0.4] *= 1e-4  # some entries are near 0
        if name == "old":
            adapters.commit()
    weight = float(rng.uniform(0.01, 2))
    terms = Sparsity(SparsitySettings(weight=weight)).penalty(model, START)
    assert terms.keys() == {"sparsity"}
    assert terms["sparsity"].item() == pytest.approx(weight * sparsity(pairs(model, "new")), rel=1e-5)
    shares = [share_near_zero(pair) for pair in pairs(model, "new")]
    assert Sparsity(SparsitySettings()).diagnostics(model) == {
        "share_near_zero": pytest.approx(np.mean(shares), rel=1e-5)
    }


def test_the_term_is_the_sum_of_all_entries_of_all_layers() -> None:
    model = a_model("first", "second")
    assert model.adapters is not None
    expected = 0.3 * sparsity(pairs(model, "second"))  # not of the first: it is committed
    term = Sparsity(SparsitySettings(weight=0.3)).penalty(model, START)["sparsity"]
    assert term.item() == pytest.approx(expected, rel=1e-5)
    gradients = torch.autograd.grad(term, [*model.adapters.parameters()])
    assert all(g.any() for g in gradients)
    assert Sparsity(SparsitySettings(weight=0.0)).penalty(model, START) == {}


def test_updates_become_sparse_by_the_term_alone(toy_config: Callable[..., RunConfig]) -> None:
    share = {}
    for weight in (0.0, 3e-3):
        setting = f"strategies=[{{kind: sparsity, weight: {weight}}}]"
        parts, _, _ = load_run(run(toy_config("method=n_lora", f"name=w{weight}", setting)))
        deltas = [delta for slot in parts.model.adapters for delta in slot.delta().values()]
        largest = max(float(delta.abs().max()) for delta in deltas)
        share[weight] = float(torch.stack([(delta.abs() < 0.01 * largest).float().mean() for delta in deltas]).mean())
    assert share[3e-3] > share[0.0] + 0.2
