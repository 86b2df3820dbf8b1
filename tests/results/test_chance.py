"""Chance, with the task told and not, and what else is concluded from predictions."""

from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record

from plora.results import ClassRankings, RunMetrics, chance_of, matrix_table, prediction_doubts, write_table
from plora.results.record.run_record import write_record
from plora.streams.base import Scenario

TASKS = ("a", "b")


def rankings(answers: dict[str, list[int]], predicted: dict[str, list[int]] | None = None) -> ClassRankings:
    """Labels by task, and what they were taken for: the truth where nothing is given."""
    label = np.array([c for labels in answers.values() for c in labels], dtype=np.int32)
    prediction = np.array([c for labels in (predicted or answers).values() for c in labels], dtype=np.int32)
    return ClassRankings(
        np.array([task for task, labels in answers.items() for _ in labels]),
        np.array([i for labels in answers.values() for i in range(len(labels))], dtype=np.int32),
        label,
        prediction[:, None],
        np.full((len(label), 1), 0.5, dtype=np.float32),
        ("w", "x", "y", "z"),
    )


def test_who_is_told_the_task_may_answer_its_most_frequent_class() -> None:
    found = chance_of(rankings({"a": [0, 0, 0, 1], "b": [2, 3]}), TASKS, "task")
    assert found is not None
    assert found.tasks.tolist() == [0.75, 0.5]
    assert found.seen.tolist() == [0.75, 0.625]
    assert found.mean == 0.625


def test_who_is_not_told_it_has_one_answer_for_all() -> None:
    found = chance_of(rankings({"a": [0, 0, 0, 1], "b": [2, 2, 2, 2]}), TASKS, "class")
    assert found is not None
    assert found.tasks.tolist() == [0.0, 1.0]  # of the answer y, which is right more often
    assert found.seen.tolist() == [0.75, 0.5]  # after one task the answer is w
    found = chance_of(rankings({"a": [0, 0, 0, 1], "b": [0, 1]}), TASKS, "domain")
    assert found is not None
    assert found.tasks.tolist() == [0.75, 0.5]
    assert found.mean == 0.625


def test_a_task_without_examples_has_no_chance() -> None:
    assert chance_of(rankings({"b": [2, 3]}), TASKS, "task") is None


def put(folder: Path, measured: ClassRankings) -> None:
    R = np.array([[np.nan] * 2, [0.9, np.nan], [0.7, 0.8]])
    write_record(folder, record(tasks=TASKS, R=R))
    measured.write(folder / "predictions" / "task-02.parquet")


def test_tables_have_chance_and_how_far_their_numbers_are_known(tmp_path: Path) -> None:
    put(tmp_path / "run", rankings({"a": [0, 0, 0, 1], "b": [2, 3]}))
    matrix, _ = write_table([tmp_path / "run"], "matrix")
    assert "| chance          | 75.0 | 50.0 |      62.5 |" in matrix
    # Wilson of 480: 0.7 is 0.6575 to 0.7392, 0.8 is 0.7618 to 0.8334; the mean by √(0.0425² + 0.0382²) / 2 below.
    assert "| at least (95 %) | 65.8 | 76.2 |      72.1 |" in matrix
    assert "| at most (95 %)  | 73.9 | 83.3 |      77.6 |" in matrix
    for kind in ("methods", "runs"):
        table, _ = write_table([tmp_path / "run"], kind)
        assert "chance: ACC 62.5, by the most frequent class of each task's test labels\n" in table
        assert "960 test examples: ACC is known to ± 2.7 points, whatever the seeds" in table
    table, _ = write_table([tmp_path / "run"], "methods", ["BWT"])
    assert "chance" not in table, "no accuracy stands in it"


def test_where_a_task_has_no_predictions_nothing_is_said_of_chance(tmp_path: Path) -> None:
    put(tmp_path / "run", rankings({"b": [2, 3]}))
    assert "chance" not in write_table([tmp_path / "run"])[0]


def test_without_predictions_there_is_no_line_of_chance() -> None:
    run = record(tasks=TASKS)
    assert RunMetrics().chance([run]) is None
    assert "chance" not in matrix_table(run)
    assert "at least (95 %)" in matrix_table(run)  # the record knows how many examples were scored


def test_classes_that_are_never_predicted_or_hardly_tested_are_named() -> None:
    labels = [0] * 12 + [1] * 12 + [2] * 3
    doubts = prediction_doubts(rankings({"a": labels}, {"a": [0] * 24 + [2] * 3}))
    assert doubts == [
        "Never predicted: 'x' (12 test examples). All their test examples count as wrong.",
        "Fewer than 10 test examples: 'y' (3 test examples). Their own accuracy says nothing.",
    ]
    assert prediction_doubts(rankings({"a": [0] * 10 + [1] * 10})) == []
    several = prediction_doubts(rankings({"a": [0] * 12, "b": [2] * 12}, {"a": [0] * 12, "b": [0] * 12}))
    assert several == ["Never predicted: 'y' of b (12 test examples). All their test examples count as wrong."]


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_chance_is_what_the_best_constant_answer_scores(scenario: Scenario) -> None:
    """The slow way: try every answer."""
    rng = np.random.default_rng(1)
    answers = {task: rng.integers(0, 4, 50).tolist() for task in TASKS}
    right = np.array([[np.mean(np.array(answers[task]) == c) for c in range(4)] for task in TASKS])
    best = right.max(axis=1).mean() if scenario == "task" else right.mean(axis=0).max()
    found = chance_of(rankings(answers), TASKS, scenario)
    assert found is not None
    assert found.mean == pytest.approx(best)
