from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from plora.adapters import Adapters, LoRA, Route
from plora.backbones import BackboneConfig, load_backbone
from plora.errors import PloraError, UnknownTaskError
from plora.gates import GATES, AllOnes, ChoosingGate, Gate, Newest, OneHot, ReadingGate
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import TextClassification
from plora.settings import named

SLOTS = ("library", "kind", "order")


def test_all_ones_lets_every_slot_take_part() -> None:
    gate = AllOnes()
    for task in (None, "kind", "unknown"):  # the task does not matter
        assert gate.route(SLOTS, task) == Route(SLOTS)
    assert gate.route((), None) == Route()
    assert gate.route(SLOTS, None).coefficients is None
    assert (gate.needs_task, gate.constant) == (False, True)


def test_one_hot_lets_the_task_take_part() -> None:
    gate = OneHot()
    for task in SLOTS:
        assert gate.route(SLOTS, task) == Route((task,))
    assert gate.route((), "kind") == Route()  # nothing learned yet: the bare network
    assert (gate.needs_task, gate.constant) == (True, True)


def test_the_newest_slot_takes_part_alone() -> None:
    gate = Newest()
    for task in (None, "kind", "unknown"):  # the task does not matter
        assert gate.route(SLOTS, task) == Route(("order",))
        assert gate.route(SLOTS[:1], task) == Route(("library",))
    assert gate.route((), None) == Route()
    assert (gate.needs_task, gate.constant, gate.merges) == (False, True, True)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("ordr", "got 'ordr'; did you mean 'order'?; tasks: library, kind, order"),
        ("zzz", "got 'zzz'; tasks: library, kind, order"),
        (None, "needs the task's name, got None; tasks: library, kind, order"),
    ],
)
def test_one_hot_needs_a_task_that_exists(task: str | None, says: str) -> None:
    with pytest.raises(UnknownTaskError) as caught:
        OneHot().route(SLOTS, task)
    assert says in str(caught.value)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, PloraError)
    with pytest.raises(UnknownTaskError):
        OneHot().route((), None)


def test_the_table_holds_final_gates() -> None:
    assert set(GATES) == {
        "all_ones",
        "one_hot",
        "newest",
        "router",
        "likelihood",
        "own_classes",
        "gain",
        "gumbel_sparsemax",
        "magnitudes",
    }
    for gate in GATES.values():
        made = named(gate.part, Gate)()
        assert made.settings == gate()
        assert made.fresh().settings == made.settings
        assert isinstance(made, ChoosingGate) == gate.chooses
        assert isinstance(made, ReadingGate) == gate.reads
        assert not (gate.chooses and gate.by_likelihood)
        assert isinstance(gate.needs_task, bool)
        assert isinstance(gate.constant, bool)


def test_the_coefficients_of_a_route_are_in_the_signature(tiny_backbone: Path) -> None:
    class Weighted(Gate):
        needs_task, constant, weight = False, False, 0.5

        def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
            return Route(tuple(slots), torch.full((len(slots),), self.weight))

    backbone = load_backbone(BackboneConfig(id=str(tiny_backbone), max_length=16))
    adapters, gate = Adapters.inject(backbone.network, targets="attention"), Weighted()
    problem = TextClassification(backbone.tokenizer, 16, "mean")
    model = ContinualModel(backbone.network, problem, LinearHead(backbone.width), adapters, gate)
    adapters.open_task("a", LoRA(rank=2))
    model.commit()
    before = model.signature("a", [])
    gate.weight = 0.25
    assert model.signature("a", []) != before
    gate.weight = 0.5
    assert model.signature("a", []) == before
