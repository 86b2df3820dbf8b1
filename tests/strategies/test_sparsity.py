from collections.abc import Callable

import pytest
import torch
from lessons import a_model

from plora.config import RunConfig
from plora.runs import load_run, run
from plora.strategies import Progress, Sparsity

START = Progress(task=1, step=0, total=10, epoch=0)


def test_the_term_is_the_sum_of_all_entries_of_all_layers() -> None:
    model = a_model("first", "second")
    assert model.adapters is not None
    deltas = model.adapters["second"].delta().values()  # not of the first: it is committed
    expected = 0.3 * sum(abs(value) for delta in deltas for row in delta.tolist() for value in row)
    term = Sparsity(weight=0.3).penalty(model, START)["sparsity"]
    assert term.item() == pytest.approx(expected, rel=1e-5)
    gradients = torch.autograd.grad(term, [*model.adapters.parameters()])
    assert all(g.any() for g in gradients)
    assert Sparsity(weight=0.0).penalty(model, START) == {}


def test_updates_become_sparse_by_the_term_alone(toy_config: Callable[..., RunConfig]) -> None:
    share = {}
    for weight in (0.0, 3e-3):
        setting = f"strategies=[{{kind: sparsity, weight: {weight}}}]"
        parts, _, _ = load_run(run(toy_config("method=n_lora", f"name=w{weight}", setting)))
        deltas = [delta for slot in parts.model.adapters for delta in slot.delta().values()]
        largest = max(float(delta.abs().max()) for delta in deltas)
        share[weight] = float(torch.stack([(delta.abs() < 0.01 * largest).float().mean() for delta in deltas]).mean())
    assert share[3e-3] > share[0.0] + 0.2
