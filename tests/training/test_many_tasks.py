"""What a stage costs must not grow with the square of the tasks before it: what they have in common is made once."""

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from plora.adapters.bank import Bank
from plora.adapters.settings import SlotShape
from plora.batches.features import FeatureCache
from plora.build import build
from plora.config import RunConfig
from plora.heads import LinearHead, linear, stepped
from plora.heads.base import Head
from plora.model import ContinualModel
from plora.runs import run
from plora.streams.base import Texts
from plora.streams.incremental import LabelSpace
from plora.training.course import StagePlan, plan_course

Config = Callable[..., RunConfig]


def filled_head(blocks: int = 3) -> LinearHead:
    head = LinearHead(4)
    for number in range(blocks):
        head.open(f"task {number}", 2, torch.Generator().manual_seed(number))
    head.commit()
    return head


def test_splits_are_hashed_once_in_a_run(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: Counter[int] = Counter()
    original = Texts.fingerprint
    monkeypatch.setattr(Texts, "fingerprint", lambda self: hashed.update([id(self)]) or original(self))
    looked: list[int] = []
    identities = Texts.identities
    monkeypatch.setattr(Texts, "identities", lambda self: looked.append(0) or identities(self))
    run(toy_config("method=frozen", "training.epochs=1"))
    assert len(looked) == 9  # three splits of three tasks, though four records were written
    assert len(hashed) == 9
    assert max(hashed.values()) <= 3  # of the task, and of what its encoding is known by; not of each record


@pytest.mark.parametrize(
    ("scenario", "rows"), [("task", "local"), ("class", "local"), ("class", "seen"), ("class", "all")]
)
def test_masks_of_a_stage_are_made_when_it_is_learned(
    scenario: str, rows: str, toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    original = LabelSpace.visible
    monkeypatch.setattr(LabelSpace, "visible", lambda *given: looked.append(0) or original(*given))
    chosen = [f"loss_rows={rows}"] if scenario == "class" else []
    parts = build(toy_config("method=sequential", f"scenario={scenario}", *chosen))
    course = plan_course(parts)
    assert not looked
    masks = [plan.competing().numpy() for plan in course]
    assert [mask.shape for mask in masks] == [(6, 6)] * 3 if rows == "all" else [(2, 2), (4, 4), (6, 6)]
    assert len(looked) == (6 if rows == "local" else 3)  # once a stage, or once for each of its tasks
    blocks = np.kron(np.eye(3, dtype=bool), np.ones((2, 2), dtype=bool))
    np.testing.assert_array_equal(masks[2], blocks if rows == "local" else np.ones((6, 6), dtype=bool))
    assert masks[0][:2].all()
    assert not masks[0][2:].any()  # nothing of a later task is learned yet


def test_a_plan_of_a_stage_holds_no_mask(toy_config: Config) -> None:
    plan = plan_course(build(toy_config("method=sequential")))[0]
    assert not any(isinstance(value, torch.Tensor) for value in vars(plan).values())
    assert isinstance(replace(plan, position=1), StagePlan)


def test_what_cells_of_a_row_have_in_common_is_made_once(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    signed: list[object] = []
    original = ContinualModel.signature
    monkeypatch.setattr(
        ContinualModel, "signature", lambda self, task, blocks: signed.append(task) or original(self, task, blocks)
    )
    copied: list[int] = []
    deepcopy = copy.deepcopy

    def counted(value: object, memo: dict[int, object] | None = None) -> object:
        copied.append(isinstance(value, Head))
        return deepcopy(value, memo)

    monkeypatch.setattr(copy, "deepcopy", counted)
    run(toy_config("method=sequential", "scenario=class", "training.epochs=1"))
    assert signed == [None] * 3  # one for each row, whatever number of cells it has
    assert sum(copied) == 1  # row 0


def test_a_signature_is_made_anew_outside_of_a_row(toy_config: Config) -> None:
    parts = build(toy_config("method=sequential", "scenario=class"))
    scorer, head = parts.scorer(), parts.model.head
    head.open("food", 2, torch.Generator().manual_seed(0))
    head.commit()
    with scorer.still():
        first = scorer.seen(parts.tasks[0], ["food"])
        assert scorer.seen(parts.tasks[0], ["food"]) is first
    head.restore({"food": 2}, {"0:weight": torch.ones(2, 32), "0:bias": torch.zeros(2)})
    assert scorer.seen(parts.tasks[0], ["food"]) is not first


def test_committed_blocks_of_a_head_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    original = stepped.hash_tensors
    monkeypatch.setattr(stepped, "hash_tensors", lambda tensors: hashed.append(0) or original(tensors))
    head = filled_head()
    first = [head.block_hash(block) for block in head.blocks]
    assert [head.block_hash(block) for block in head.blocks] == first
    assert len(hashed) == 3
    head.open("task 1", 2, torch.Generator())  # trains again
    with torch.no_grad():
        next(head.parameters()).add_(1)
    assert head.block_hash("task 1") != first[1]
    head.commit()
    assert head.block_hash("task 1") != first[1]
    head.restore({"task 0": 2}, {"0:weight": torch.zeros(2, 4), "0:bias": torch.zeros(2)})
    assert head.block_hash("task 0") != first[0]


def test_where_the_task_is_named_no_other_block_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    head, features = filled_head(), torch.randn(5, 4)
    whole = head(features)
    products: list[int] = []
    original = torch.nn.functional.linear
    monkeypatch.setattr(linear.F, "linear", lambda *given: products.append(0) or original(*given))
    for block in head.blocks:
        assert torch.equal(head.block_scores(features, block), whole[:, head.slice_of(block)])
    assert len(products) == 3


def test_a_cache_counts_what_it_keeps_as_it_comes_and_goes() -> None:
    cache = FeatureCache(limit_bytes=40)
    for number in range(5):
        cache.keep((str(number),), torch.zeros(4))
        assert cache.used_bytes == sum(tensor.nbytes for tensor in cache.kept.values())
    assert [*cache.kept] == [("3",), ("4",)]
    cache.keep(("4",), torch.zeros(2))  # in place of what was there
    assert cache.used_bytes == 24
    cache.keep(("too large",), torch.zeros(11))
    assert cache.used_bytes == 24


def filled_bank(slots: int) -> tuple[Bank, list[torch.Tensor]]:
    bank, given = Bank(3, 2, "layer", 0), []
    for number in range(slots):
        given.append(torch.full((2, 3), float(number)))
        bank.append(str(number), SlotShape(2, 0.5 * number), given[-1], torch.full((2, 2), float(number)))
    return bank, given


def test_slots_that_are_read_one_after_the_other_are_moved_a_few_times() -> None:
    bank = Bank(3, 2, "layer", 0)
    places = set()
    for number in range(100):
        bank.append(str(number), SlotShape(2, 1.0), torch.ones(2, 3), torch.ones(2, 2))
        places.add(bank.A_old.data_ptr())
    assert len(places) <= 8
    assert bank.A_old.shape == (200, 3)
    assert bank.row_scale.shape == (200,)


def test_a_bank_keeps_its_slots_while_it_grows_and_shrinks() -> None:
    bank, given = filled_bank(5)
    held, copied = bank.A_old, copy.deepcopy(bank)
    bank.append("5", SlotShape(2, 1.0), torch.full((2, 3), 5.0), torch.ones(2, 2))
    copied.append("other", SlotShape(2, 1.0), torch.full((2, 3), 9.0), torch.ones(2, 2))
    assert torch.equal(held, torch.cat(given))
    assert torch.equal(bank.A_old, torch.cat([*given, torch.full((2, 3), 5.0)]))
    assert float(copied.rows("other")[0][0, 0]) == 9
    bank.delete("5")
    bank.append("6", SlotShape(2, 1.0), torch.full((2, 3), 6.0), torch.ones(2, 2))
    assert torch.equal(bank.rows("6")[0], torch.full((2, 3), 6.0))
    assert bank.row_scale.tolist() == [s for number in range(5) for s in [0.5 * number] * 2] + [1.0, 1.0]
    bank.clear()
    assert bank.names == ()
    assert bank.A_old.shape == (0, 3)


def test_a_gradient_may_come_after_a_slot_was_added() -> None:
    bank, _ = filled_bank(5)
    weight = torch.ones(4, 3, requires_grad=True)
    out = torch.nn.functional.linear(weight, bank.A_old)
    bank.append("5", SlotShape(2, 1.0), torch.ones(2, 3), torch.ones(2, 2))
    out.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, bank.A_old[:10].sum(0).expand(4, 3))


def test_a_model_is_emptied_at_once(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(toy_config("method=per_task")).model
    assert model.adapters is not None
    for bank in model.adapters.banks.values():
        for name in ("a", "b"):
            bank.append(name, SlotShape(2, 1.0), torch.ones(2, bank.in_features), torch.ones(2, bank.out_features))
    monkeypatch.setattr(Bank, "delete", None)  # one by one each slot would move all others
    model.reset()
    assert model.adapters.names == []
