"""What an optimizer keeps is saved and restored, whatever the optimizer: the next steps have the same bits."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from plora.errors import RunError
from plora.optimizers import (
    SGD,
    AdamW,
    OptimizerSettings,
    ParameterGroups,
    make_optimizer,
    restore_training,
    set_rates,
    training_tensors,
)


class Counting(torch.optim.Optimizer):
    """Gradient descent whose rate falls with a count and a number that it keeps, of no kind that torch has."""

    def __init__(self, groups: ParameterGroups, keep: object) -> None:
        super().__init__(groups, {})
        self.keep = keep

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["count"] = state.get("count", 0) + 1
                state["share"] = state.get("share", 1.0) / 3
                state["kept"] = self.keep
                p.data -= group["lr"] * state["share"] / state["count"] * p.grad


class Own(OptimizerSettings):
    kind: str = "own"
    keep: list[int] | None = None

    def make(self, groups: ParameterGroups) -> torch.optim.Optimizer:
        return Counting(groups, self.keep)


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {"backbone.w": nn.Parameter(torch.randn(5, 3)), "head._open.weight:0": nn.Parameter(torch.randn(4))}


def optimizer_of(settings: OptimizerSettings, trained: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
    return make_optimizer(trained, dict.fromkeys(trained, "head"), settings, (), 0.1, 0.01)


def steps(trained: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for step in numbers:
        set_rates(optimizer, 1 / (step + 1))
        generator = torch.Generator().manual_seed(step)
        for parameter in trained.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize(
    "settings",
    [AdamW(), AdamW(betas=(0.5, 0.9), eps=1e-3), SGD(momentum=0.0), SGD(), SGD(nesterov=True), Own()],
    ids=str,
)
@pytest.mark.parametrize("done", [0, 1, 3])
def test_training_goes_on_with_the_same_bits(settings: OptimizerSettings, done: int) -> None:
    whole = parameters()
    uncut = optimizer_of(settings, whole)
    steps(whole, uncut, range(done))
    best: dict[str, Tensor] = {"backbone.w": torch.ones(5, 3)}
    saved = {name: tensor.detach().clone() for name, tensor in training_tensors(whole, whole, uncut, best).items()}
    steps(whole, uncut, range(done, done + 3))

    again = {name: nn.Parameter(torch.zeros_like(parameter)) for name, parameter in whole.items()}
    optimizer, found = optimizer_of(settings, again), dict[str, Tensor]()
    restore_training(saved, again, again, optimizer, found)
    steps(again, optimizer, range(done, done + 3))
    assert all(torch.equal(again[name], parameter) for name, parameter in whole.items())
    assert torch.equal(found["backbone.w"], best["backbone.w"])


def test_the_momentum_is_kept() -> None:
    trained = parameters()
    optimizer = optimizer_of(SGD(), trained)
    steps(trained, optimizer, range(2))
    names = training_tensors(trained, trained, optimizer, {}).keys()
    assert {"optimizer/momentum_buffer/backbone.w", "optimizer/momentum_buffer/head._open.weight:0"} <= names


def test_numbers_stay_numbers() -> None:
    trained = parameters()
    optimizer, again = optimizer_of(Own(), trained), optimizer_of(Own(), trained)
    steps(trained, optimizer, range(3))
    restore_training(training_tensors(trained, trained, optimizer, {}), trained, trained, again, {})
    state = again.state[trained["backbone.w"]]
    assert state == {"count": 3, "share": 1 / 27}
    assert isinstance(state["count"], int)


def test_what_a_checkpoint_cannot_hold_is_refused() -> None:
    trained = parameters()
    optimizer = optimizer_of(Own(keep=[1]), trained)
    steps(trained, optimizer, range(1))
    with pytest.raises(RunError, match="Counting keeps a list 'kept' of a parameter, and a checkpoint holds tensors"):
        training_tensors(trained, trained, optimizer, {})


def test_tensors_of_other_parameters_are_refused() -> None:
    trained = parameters()
    optimizer = optimizer_of(SGD(), trained)
    steps(trained, optimizer, range(1))
    tensors = training_tensors(trained, trained, optimizer, {})
    fewer = {name: p for name, p in trained.items() if name == "backbone.w"}
    for opened, learned in ((fewer, fewer), (trained, fewer)):
        with pytest.raises(RunError, match="belongs to other parameters"):
            restore_training(tensors, opened, learned, optimizer_of(SGD(), trained), {})
