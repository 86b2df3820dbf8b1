from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from reference.orthogonality import mean_abs_cosine, orthogonality
from torch import Tensor, nn

from plora.adapters import Adapters, LoRA
from plora.backbones import Backbone, BackboneConfig
from plora.gates import AllOnes
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import Examples, Problem
from plora.problems.settings import ProblemSettings
from plora.strategies import STRATEGIES, Orthogonality, OrthogonalitySettings
from plora.streams.base import Split

I = 8  # noqa: E741  (input features, as in the bank)
START = Moment(task=1, step=0, total=10, epoch=0)


class NoProblem(Problem):
    """Penalties see no data."""

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> Backbone:
        raise NotImplementedError

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        raise NotImplementedError

    def encode(self, split: Split, first_row: int = 0) -> Examples:
        raise NotImplementedError

    def features(self, found: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        return found

    def restored(self, tensors: Mapping[str, Tensor]) -> Examples:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return ""


def model_with(*ranks: int, seed: int = 0, layers: int = 2) -> ContinualModel:
    """One slot per rank, filled at random; the last one is open."""
    torch.manual_seed(seed)
    network = nn.Sequential(*(nn.Linear(I, I) for _ in range(layers)))
    adapters = Adapters.inject(network, "all_linear")
    model = ContinualModel(network, NoProblem(), LinearHead(I), adapters, AllOnes())
    for number, rank in enumerate(ranks):
        slot = adapters.open_task(f"t{number}", LoRA(rank=rank))
        with torch.no_grad():
            for matrix in (*slot.A.values(), *slot.B.values()):
                matrix.normal_()
        if number < len(ranks) - 1:
            adapters.commit()
    return model


def set_A(model: ContinualModel, value: Tensor) -> None:
    assert model.adapters is not None
    with torch.no_grad():
        for matrix in model.adapters[model.adapters.names[-1]].A.values():
            matrix.copy_(value)


def arrays(model: ContinualModel, path: str) -> list[np.ndarray]:
    assert model.adapters is not None
    return [slot.A[path].detach().double().numpy() for slot in model.adapters]


@pytest.mark.parametrize("form", ["l1", "sq"])
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 10_000), st.floats(0.01, 5))
@settings(max_examples=25)
def test_against_the_double_loop(form: Literal["l1", "sq"], ranks: list[int], seed: int, weight: float) -> None:
    model = model_with(*ranks, seed=seed)
    terms = Orthogonality(OrthogonalitySettings(weight=weight, penalty_form=form)).penalty(model, START)
    expected = weight * sum(orthogonality((A := arrays(model, path))[:-1], A[-1], form) for path in ("0", "1"))
    assert terms.keys() == {"orthogonality"}
    assert terms["orthogonality"].shape == ()
    assert terms["orthogonality"].item() == pytest.approx(expected, rel=1e-4)
    cosines = [mean_abs_cosine((A := arrays(model, path))[:-1], A[-1]) for path in ("0", "1")]
    found = Orthogonality(OrthogonalitySettings()).diagnostics(model)["mean_abs_cos"]
    assert found == pytest.approx(np.mean(cosines), rel=1e-4)
    assert 0 <= found <= 1


def test_identical_slots() -> None:
    model = model_with(3, 3, layers=1)
    A = torch.from_numpy(arrays(model, "0")[0]).float()
    set_A(model, A)
    got = Orthogonality(OrthogonalitySettings(weight=1, penalty_form="sq")).penalty(model, START)["orthogonality"]
    assert got.item() == pytest.approx((A @ A.T).square().sum().item(), rel=1e-6)
    got = Orthogonality(OrthogonalitySettings(weight=1)).penalty(model, START)["orthogonality"]
    assert got.item() == pytest.approx((A @ A.T).abs().sum().item(), rel=1e-6)
    set_A(model, 7 * A[:1].expand(3, I))
    model_of_one = model_with(1, 1, layers=1)
    set_A(model_of_one, -4 * torch.from_numpy(arrays(model_of_one, "0")[0]).float())
    assert Orthogonality(OrthogonalitySettings()).diagnostics(model_of_one)["mean_abs_cos"] == pytest.approx(1.0)


@pytest.mark.parametrize("form", ["l1", "sq"])
def test_orthonormal_disjoint_rows_cost_nothing(form: Literal["l1", "sq"]) -> None:
    model = model_with(2, 3, 3)
    assert model.adapters is not None
    axes = torch.eye(I)
    for bank in model.adapters.banks.values():
        bank.A_old.copy_(axes[:5])
    set_A(model, axes[5:])
    assert (
        Orthogonality(OrthogonalitySettings(weight=2, penalty_form=form)).penalty(model, START)["orthogonality"].item()
        == 0.0
    )
    assert Orthogonality(OrthogonalitySettings()).diagnostics(model) == {"mean_abs_cos": 0.0}


@pytest.mark.parametrize("form", ["l1", "sq"])
def test_the_gradient_reaches_the_new_slot_alone(form: Literal["l1", "sq"]) -> None:
    model = model_with(2, 3)
    assert model.adapters is not None
    before = {path: bank.A_old.clone() for path, bank in model.adapters.banks.items()}
    Orthogonality(OrthogonalitySettings(penalty_form=form)).penalty(model, START)["orthogonality"].backward()
    for path, bank in model.adapters.banks.items():
        assert bank.A is not None
        assert bank.B is not None
        assert bank.A.grad is not None
        assert bank.A.grad.any()
        assert bank.B.grad is None
        assert not bank.A_old.requires_grad
        assert bank.A_old.grad is None
        assert torch.equal(bank.A_old, before[path])
        O = (bank.A_old @ bank.A.detach().T).double()  # noqa: E741
        outer = O.sign() if form == "l1" else 2 * O
        torch.testing.assert_close(bank.A.grad.double(), 0.5 * outer.T @ bank.A_old.double(), rtol=1e-4, atol=1e-5)


def test_descending_makes_rows_orthogonal_not_only_small() -> None:
    model = model_with(2, 2)
    assert model.adapters is not None
    strategy = Orthogonality(OrthogonalitySettings(weight=1, penalty_form="sq"))
    optimizer = torch.optim.SGD(model.adapters.parameters(), lr=0.01)
    start, cosine = strategy.penalty(model, START)["orthogonality"].item(), strategy.diagnostics(model)["mean_abs_cos"]
    for _ in range(100):
        optimizer.zero_grad()
        strategy.penalty(model, START)["orthogonality"].backward()
        optimizer.step()
    assert strategy.penalty(model, START)["orthogonality"].item() < 0.01 * start
    assert strategy.diagnostics(model)["mean_abs_cos"] < 0.2 * cosine


def test_nothing_to_protect() -> None:
    assert Orthogonality(OrthogonalitySettings(weight=0)).penalty(model_with(2, 2), START) == {}
    assert Orthogonality(OrthogonalitySettings()).penalty(model_with(2), START) == {}  # the first task
    assert Orthogonality(OrthogonalitySettings()).diagnostics(model_with(2)) == {}
    bare = ContinualModel(nn.Linear(I, I), NoProblem(), LinearHead(I))
    assert Orthogonality(OrthogonalitySettings(norm_weight=0.0)).penalty(bare, START) == {}
    done = model_with(2, 2)
    assert done.adapters is not None
    done.adapters.commit()
    assert Orthogonality(OrthogonalitySettings()).penalty(done, START) == {}


def test_norm_term() -> None:
    model = model_with(2, 3)
    assert model.adapters is not None
    terms = Orthogonality(OrthogonalitySettings(weight=0, norm_weight=0.3)).penalty(model, START)
    expected = sum(np.linalg.norm(matrix.detach().numpy()) for matrix in model.adapters.parameters())
    assert terms.keys() == {"norm"}
    assert terms["norm"].item() == pytest.approx(0.3 * expected, rel=1e-5)
    assert Orthogonality(OrthogonalitySettings(norm_weight=0.3)).penalty(model, START).keys() == {
        "orthogonality",
        "norm",
    }
    with torch.no_grad():
        for matrix in model.adapters.parameters():
            matrix.zero_()
    Orthogonality(OrthogonalitySettings(norm_weight=0.3)).penalty(model, START)[
        "norm"
    ].backward()  # B = 0 at first: no NaN
    for matrix in model.adapters.parameters():
        assert matrix.grad is not None
        assert matrix.grad.isfinite().all()


def test_settings_are_strict() -> None:
    for wrong in ({"weight": -1}, {"penalty_form": "l2"}, {"lambda": 1}, {"kind": "ewc"}):
        with pytest.raises(ValidationError):
            Orthogonality(OrthogonalitySettings(**wrong))  # type: ignore[arg-type]
    assert STRATEGIES["orthogonality"]().kind == "orthogonality"
