"""Old and new classes after each step, from pixel counts that are made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record

from plora.errors import RunError
from plora.results import SCORES, PixelCounts, RunRecord, class_steps, class_steps_table, write_record, write_table

NAMES = ("ground", "cat", "dog", "cow")
FIRST = [[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
SECOND = [[9, 0, 1, 0], [2, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 3]]
"""Confusions of the test images of either step."""


def steps(folder: Path, score: str = "mean_iou") -> RunRecord:
    """A run that learned ground and cat, then dog and cow."""
    run = record(tasks=("early", "late"), scenario="class")
    run = replace(run, score=SCORES[score], data=tuple(replace(data, classes=2) for data in run.data), predictions=())
    for number in (1, 2):
        counts = PixelCounts.of_confusions(
            np.array(["early", "late"]), np.zeros(2, np.int32), np.array([FIRST, SECOND]), NAMES
        )
        counts.write(folder / "predictions" / f"task-{number:02}.parquet")
    return run


@pytest.mark.parametrize(
    ("score", "first", "old", "new", "every"),
    [
        # Ground 6 of 9, cat 3 of 6; then of both images ground 15 of 21, cat 5 of 10, dog 1 of 3, cow 3 of 4.
        ("mean_iou", (6 / 9 + 3 / 6) / 2, (15 / 21 + 5 / 10) / 2, (1 / 3 + 3 / 4) / 2, None),
        ("foreground_iou", 3 / 6, 5 / 10, (1 / 3 + 3 / 4) / 2, (5 / 10 + 1 / 3 + 3 / 4) / 3),
    ],
)
def test_means_over_old_and_new_classes(
    tmp_path: Path, score: str, first: float, old: float, new: float, every: float | None
) -> None:
    early, late = class_steps(tmp_path, steps(tmp_path, score))
    assert (early.classes, late.classes) == (NAMES[:2], NAMES[2:])
    assert np.isnan(early.old)
    assert early.new == early.all == pytest.approx(first)
    assert (late.old, late.new) == pytest.approx((old, new))
    assert late.all == pytest.approx((old + new) / 2 if every is None else every)


def test_the_table_has_a_row_for_each_step(tmp_path: Path) -> None:
    run = steps(tmp_path)
    shown = class_steps_table(tmp_path, run)
    assert "| early |       2 |     – |  58.3 |  58.3 |" in shown
    assert "| late  |       2 |  60.7 |  54.2 |  57.4 |" in shown
    assert 'late,"dog, cow",0.607142857143,0.541666666667,0.574404761905' in class_steps_table(tmp_path, run, "csv")


def test_runs_without_such_steps_have_no_table(tmp_path: Path) -> None:
    run = steps(tmp_path)
    with pytest.raises(RunError, match="classes of pixels do not arrive in steps"):
        class_steps(tmp_path, replace(run, scenario="domain"))
    (tmp_path / "predictions" / "task-01.parquet").unlink()
    with pytest.raises(RunError, match="has no pixel counts of task 'early'"):
        class_steps(tmp_path, run)
    write_record(tmp_path, record(scenario="class"))
    with pytest.raises(RunError, match="its cells are accuracy"):
        write_table([tmp_path], "steps")
