"""Runs whose slots are merged: what is trained, what answers, and what is said of it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from plora.adapters.merging import MERGED, merge
from plora.config import RunConfig
from plora.errors import DataError
from plora.results.record.manifest import read_checkpoint
from plora.runs import load_run, run

Config = Callable[..., RunConfig]


def test_the_slot_that_answers_is_made_of_the_others_and_what_it_lacks_is_said(toy_config: Config) -> None:
    config = toy_config("method=merged_ties", "merging.rank=2", "training.epochs=2")
    parts, folder, _ = load_run(run(config))
    adapters = parts.model.adapters
    assert adapters.names == ["food", "travel", "nature", MERGED]
    assert parts.model.route(None).slots == (MERGED,)
    expected, lost = merge(adapters.banks, ["food", "travel", "nature"], "ties", config.merging)
    for path, (shape, A, B) in expected.items():
        assert shape.rank == 2
        assert torch.equal(adapters[MERGED].A[path], A)
        assert torch.equal(adapters[MERGED].B[path], B)
    said = re.findall(r"event=merged task=(\w+) slots=(\d) share_lost=([\d.]+)", folder.log.read_text(encoding="utf-8"))
    assert [line[:2] for line in said] == [("food", "1"), ("travel", "2"), ("nature", "3")]
    assert float(said[-1][2]) == pytest.approx(lost, rel=1e-3)
    assert 0 < lost < 1
    assert read_checkpoint(folder.path, 3).gate == {MERGED: 1.0}
    merged = {read_checkpoint(folder.path, number).slots[MERGED] for number in (1, 2, 3)}
    assert len(merged) == 3  # each checkpoint has its own


def test_slots_that_are_averaged_are_those_of_per_task(toy_config: Config) -> None:
    slots = {}
    for method in ("per_task", "merged_average"):
        slots[method] = read_checkpoint(run(toy_config(f"method={method}", "training.epochs=1")), 3).slots
    del slots["merged_average"][MERGED]
    assert slots["merged_average"] == slots["per_task"]


def test_magmax_goes_on_from_the_task_before_and_the_others_do_not(toy_config: Config) -> None:
    still = ("training.epochs=1", "training.learning_rate=1e-9")
    for method, goes_on in (("merged_magmax", True), ("merged_average", False)):
        parts, _, _ = load_run(run(toy_config(f"method={method}", *still)))
        for first, second in zip(*(parts.model.adapters[task].A.values() for task in ("food", "travel")), strict=True):
            assert torch.allclose(first, second, atol=1e-4) == goes_on


def test_no_task_has_the_name_of_the_merged_slot(toy_config: Config, toy_files: dict[str, Path]) -> None:
    tasks = f"stream.tasks=[{{name: merged, train: '{toy_files['food-train']}', test: '{toy_files['food-test']}'}}]"
    with pytest.raises(DataError, match=r"'merged', and so does method .*; rename the task"):
        run(toy_config("method=merged_magmax", tasks))
    run(toy_config("method=per_task", "training.epochs=1", tasks))  # of no matter elsewhere
