"""Pictures of label sets and numbers show what was measured."""

import numpy as np
import pytest
from test_targeted_measurements import NAMES, labelled, numbers

from plora.results import LabelScores, PredictedNumbers
from plora.results.pictures.target_plots import f1_of_labels, numbers_against_targets


def test_a_bar_for_each_label_that_was_had_or_given() -> None:
    found = labelled(2, ties=False)
    (ax,) = f1_of_labels(found).axes
    f1 = 100 * found.f1()
    known = np.flatnonzero(~np.isnan(f1))
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(f1[known].tolist())
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [NAMES[label] for label in known]
    many = tuple(f"label {number}" for number in range(100))
    wide = LabelScores(
        np.array(["a"]),
        np.zeros(1, np.int32),
        np.array([0, 100]),
        np.arange(100, dtype=np.int32),
        np.ones(100, np.bool_),
        np.ones(100, np.float32),
        many,
    )
    (ax,) = f1_of_labels(wide).axes
    assert len(ax.patches) == 20  # the first and the last
    assert "80 more left out" in ax.get_title(loc="left")


def test_a_panel_for_each_task_and_a_point_for_each_example() -> None:
    first, second = numbers(0, each=2), numbers(1, each=1)
    joined = PredictedNumbers.joined([first, PredictedNumbers(np.full(30, "b"), *second_columns(second))])
    figure = numbers_against_targets(joined, ("a", "b", "never"), "metres")
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == ["a", "b"]
    points = [line for line in shown[0].lines if line.get_marker() == "."]
    np.testing.assert_array_equal(points[1].get_ydata(), first.prediction.reshape(30, 2)[:, 1])
    assert figure.get_supxlabel() == "true number (metres)"
    many = PredictedNumbers.joined(
        [PredictedNumbers(np.full(30, f"task {n}"), *second_columns(second)) for n in range(9)]
    )
    figure = numbers_against_targets(many, [f"task {n}" for n in range(9)], "")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [f"task {n}" for n in (0, 1, 2, 6, 7, 8)]


def second_columns(found: PredictedNumbers) -> tuple[np.ndarray, ...]:
    return found.example, found.starts, found.target, found.prediction
