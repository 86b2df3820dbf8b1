from dataclasses import replace

import numpy as np
import pytest

from plora.results import (
    ClassRankings,
    MetricError,
    class_scores,
    expected_calibration_error,
    macro_f1,
    task_accuracy,
)


def predictions(label: list[int], prediction: list[int], probability: list[float], classes: int = 4) -> ClassRankings:
    n = len(label)
    return ClassRankings(
        np.array(["a"] * n, dtype=np.str_),
        np.arange(n, dtype=np.int32),
        np.array(label, dtype=np.int32),
        np.array(prediction, dtype=np.int32)[:, None],
        np.array(probability, dtype=np.float32)[:, None],
        tuple("wxyz"[i % 4] for i in range(classes)),
    )


def test_f1_by_hand() -> None:
    # class 0: TP 2, FN 1; class 1: TP 1, FP 1, FN 1; class 2 is predicted, never true; class 3 is neither
    found = class_scores(predictions([0, 0, 0, 1, 1], [0, 0, 1, 1, 2], [0.9] * 5))
    assert [(s.id, s.name, s.support) for s in found] == [(0, "w", 3), (1, "x", 2), (2, "y", 0)]
    assert [s.f1 for s in found] == pytest.approx([4 / 5, 2 / 4, 0])
    assert [s.precision for s in found] == pytest.approx([1, 1 / 2, 0])
    assert [s.recall for s in found] == pytest.approx([2 / 3, 1 / 2, np.nan], nan_ok=True)
    assert macro_f1(predictions([0, 0, 0, 1, 1], [0, 0, 1, 1, 2], [0.9] * 5)) == pytest.approx(1.3 / 3)


def test_f1_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for classes in (2, 5, 130):
        label, guess = rng.integers(0, classes, (2, 400))
        record = predictions(label.tolist(), guess.tolist(), [0.5] * 400, classes)
        assert macro_f1(record) == pytest.approx(metrics.f1_score(label, guess, average="macro"))
        expected = metrics.f1_score(label, guess, average=None)
        assert [score.f1 for score in class_scores(record)] == pytest.approx(expected)


def test_calibration_error_by_hand() -> None:
    # Two bins: (0, .5] has .3 wrong and .5 right, (.5, 1] has .8 right, .9 right and 1 wrong.
    record = predictions([0, 0, 0, 0, 0], [1, 0, 0, 0, 1], [0.3, 0.5, 0.8, 0.9, 1.0])
    low, high = abs(1 / 2 - 0.4), abs(2 / 3 - 0.9)
    assert expected_calibration_error(record, bins=2) == pytest.approx(2 / 5 * low + 3 / 5 * high, abs=1e-7)
    # In 15 bins each of these stands alone.
    alone = [0.3 - 0, 1 - 0.5, 1 - 0.8, 1 - 0.9, 1.0 - 0]
    assert expected_calibration_error(record) == pytest.approx(sum(alone) / 5, abs=1e-7)


def test_calibration_at_the_ends() -> None:
    assert expected_calibration_error(predictions([0] * 4, [0] * 4, [1.0] * 4)) == 0
    assert expected_calibration_error(predictions([0] * 4, [1] * 4, [0.0] * 4)) == 0
    assert expected_calibration_error(predictions([0], [0], [1.00005])) == pytest.approx(0, abs=1e-4)
    with pytest.raises(MetricError, match="at least one bin"):
        expected_calibration_error(predictions([0], [0], [1.0]), bins=0)


def test_task_accuracy_by_hand() -> None:
    # Task a has the classes 0 and 1, task b the class 2; class 3 is nobody's.
    tasks, label, guess = ["a", "a", "a", "b", "b"], [0, 1, 1, 2, 2], [1, 1, 2, 2, 3]
    record = predictions(label, guess, [0.5] * 5)
    record = replace(record, task=np.array(tasks, dtype=np.str_))
    assert task_accuracy(record) == pytest.approx(3 / 5)
    shared = replace(record, label=np.array([0, 1, 1, 0, 2], np.int32))
    with pytest.raises(MetricError, match="have classes in common"):
        task_accuracy(shared)


def test_no_examples() -> None:
    for function in (class_scores, macro_f1, task_accuracy, expected_calibration_error):
        with pytest.raises(MetricError, match="needs test examples, and there are none"):
            function(predictions([], [], []))
