"""Evaluation of gates that settle: what they have learned stands in the weight, and costs the same for every task."""

from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from plora.adapters import Bank, Route
from plora.gates import (
    AllOnes,
    Gate,
    GumbelSparsemax,
    GumbelSparsemaxSettings,
    Magnitudes,
    MagnitudesSettings,
    OneHot,
)
from plora.model import ContinualModel
from plora.testing import ConformanceError, check_gate
from plora.testing.tiny import TASKS, open_filled, tiny_inputs, tiny_model

GATES = [
    *(Magnitudes(MagnitudesSettings(per=per)) for per in ("slot", "layer", "site")),
    Magnitudes(MagnitudesSettings(compat="repo")),  # the layers' norms are coefficients
    *(GumbelSparsemax(GumbelSparsemaxSettings(per=per, growth="all")) for per in ("slot", "layer")),
]


def open_slot(model: ContinualModel, slot: str) -> None:
    """A slot as if it had been trained for a while, and numbers of the gate that have moved."""
    assert model.gate is not None
    open_filled(model, slot)
    model.gate.opened(slot)
    with torch.no_grad():
        for number, parameter in enumerate(model.gate.parameters(), 1):
            parameter.add_(0.1 * number)


def learned(gate: Gate, tasks: tuple[str, ...] = TASKS) -> ContinualModel:
    model = tiny_model(gate.fresh())
    for task in tasks:
        open_slot(model, task)
        model.commit(lambda _: 0.0)
    return model


def evaluated(model: ContinualModel, inputs: Mapping[str, Tensor], task: str | None = None) -> Tensor:
    with torch.inference_mode():
        return model(inputs, task)


def folded(model: ContinualModel) -> Route | None:
    assert model.adapters is not None
    return model.adapters.folded


@pytest.mark.parametrize("size", [1, 7, 128])
@pytest.mark.parametrize("gate", GATES, ids=lambda gate: f"{type(gate).__name__}-{gate.settings.per}")
def test_scores_are_those_of_the_slots_beside_the_weight(
    gate: Gate, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = learned(gate)
    pristine = [tensor.clone() for tensor in model.pretrained()]
    inputs = {name: tensor.repeat(16, 1)[:size] for name, tensor in tiny_inputs(model).items()}
    beside = model(inputs).detach()  # where gradients are wanted nothing is folded

    def reached(*_: object) -> Tensor:
        raise AssertionError("committed slots were multiplied with inputs")

    monkeypatch.setattr(Bank, "_add_committed", reached)
    torch.testing.assert_close(evaluated(model, inputs), beside, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(*pair) for pair in zip(model.pretrained(), pristine, strict=True))


@pytest.mark.parametrize("gate", [Magnitudes(), GumbelSparsemax(GumbelSparsemaxSettings(growth="all"))])
def test_an_evaluation_costs_the_same_after_every_task(gate: Gate) -> None:
    costs, beside = [], []
    for tasks in (TASKS[:1], TASKS):
        model = learned(gate, tasks)
        inputs = tiny_inputs(model)
        evaluated(model, inputs)  # folds
        assert folded(model) is not None
        for found, wanted in ((costs, False), (beside, True)):
            with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(wanted):
                model.features(inputs)  # the head grows
            found.append(counter.get_total_flops())
    assert costs[0] == costs[1] < beside[0] < beside[1]


def test_what_is_folded_follows_what_is_learned() -> None:
    model = learned(Magnitudes())
    inputs = tiny_inputs(model)

    def agree() -> None:
        torch.testing.assert_close(evaluated(model, inputs), model(inputs).detach(), rtol=1e-5, atol=1e-5)

    agree()
    former = folded(model)
    agree()
    assert folded(model) is former is not None  # made once
    with torch.no_grad():
        next(model.gate.parameters()).mul_(3)
    agree()
    assert folded(model) is not former
    model.adapters.rescale(TASKS[0], dict.fromkeys(model.adapters.banks, 2.0))
    agree()
    open_slot(model, "fourth")
    model.fold(None)
    assert folded(model) is None  # a task trains, and all magnitudes with it
    agree()
    assert folded(model) is None
    model.commit(lambda _: 0.0)
    agree()
    assert folded(model).slots == (*TASKS, "fourth")
    with model.routing(Route((TASKS[1],))):
        other = evaluated(model, inputs)
    model.adapters.unfold()
    assert not torch.allclose(other, evaluated(model, inputs))
    agree()
    model.reset()
    assert folded(model) is None


def test_magnitudes_have_gradients_whatever_was_folded() -> None:
    model = learned(Magnitudes())
    inputs = tiny_inputs(model)
    evaluated(model, inputs)
    features = model.features(inputs)
    numbers = [*model.gate.parameters()]
    assert all(gradient.any() for gradient in torch.autograd.grad(features.square().sum(), numbers))


def test_the_weight_is_folded_in_full_precision_and_serves_a_gradient_later() -> None:
    """What evaluates first may do so under autocast and in inference mode."""
    weights = []
    for half in (True, False):
        model = learned(Magnitudes())
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            evaluated(model, tiny_inputs(model))
        weights.append([layer.folded_weight for layer in model.adapters.layers])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))
    assert not any(weight.is_inference() or weight.requires_grad for weight in weights[0])


@pytest.mark.parametrize("gate", [AllOnes(), OneHot()])
def test_other_gates_are_evaluated_as_before(gate: Gate) -> None:
    model = learned(gate)
    inputs = tiny_inputs(model)
    for task in TASKS:
        assert torch.equal(evaluated(model, inputs, task), model(inputs, task))
        assert folded(model) is None


class Wavering(Magnitudes):
    """Says that it settles, and weighs slots for each sample."""

    class Wrong(MagnitudesSettings):
        settles: ClassVar[bool] = True

    def route(self, slots, task, at=None):  # type: ignore[no-untyped-def]
        route = super().route(slots, task, at)
        return Route(route.slots, route.coefficients.expand(8, -1), "sample") if route.slots else route


def test_a_gate_that_settles_on_no_single_weight_breaks_its_promise() -> None:
    with pytest.raises(ConformanceError, match=r"settles = True lets committed slots be folded for evaluation"):
        check_gate(Wavering)
