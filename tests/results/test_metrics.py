import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plora.results import (
    METRICS,
    MetricError,
    accuracy,
    average_incremental_accuracy,
    backward_transfer,
    forgetting,
    forgetting_per_task,
    forward_transfer,
    learning_accuracy,
    seen_accuracy,
    summary,
)
from plora.results.record.matrix import Matrix

NAN = np.nan
REFERENCE = np.array([[0.25, 0.25, 0.25], [0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.6, 0.75, 0.85]])
JOINT = np.array([[NAN] * 3, [NAN] * 3, [NAN] * 3, [0.7, 0.8, 0.9]])


def matrices() -> st.SearchStrategy[Matrix]:
    cells = st.floats(0, 1)
    return st.integers(2, 12).flatmap(lambda T: arrays(np.float64, (T + 1, T), elements=cells))


def lower(R: Matrix) -> Matrix:
    """Forget every cell that `evaluate: seen` does not measure."""
    return np.where(np.tri(len(R), R.shape[1], k=-1, dtype=bool), R, NAN)


def test_reference_values() -> None:
    assert accuracy(REFERENCE) == pytest.approx(0.73333, abs=1e-5)
    assert backward_transfer(REFERENCE) == pytest.approx(-0.175)
    assert forward_transfer(REFERENCE) == pytest.approx(0.0, abs=1e-12)
    assert forgetting(REFERENCE) == pytest.approx(0.175)
    assert forgetting_per_task(REFERENCE) == pytest.approx([0.3, 0.05])
    assert average_incremental_accuracy(REFERENCE) == pytest.approx(0.79444, abs=1e-5)
    assert seen_accuracy(REFERENCE) == pytest.approx([0.9, 0.75, 0.73333], abs=1e-5)
    assert learning_accuracy(REFERENCE) == pytest.approx((0.9 + 0.8 + 0.85) / 3)


def test_cells_above_the_diagonal_are_needed_by_fwt_only() -> None:
    R = lower(REFERENCE)
    values = {name: metric.value for name, metric in summary(R, "domain").items()}
    assert values.pop("forward_transfer") is None
    full = summary(REFERENCE, "domain")
    assert values == {name: full[name].value for name in values}


@given(matrices())
def test_against_slow_formulas_counted_from_one(R: Matrix) -> None:
    T = R.shape[1]
    r = {(i, j): float(R[i, j - 1]) for i in range(T + 1) for j in range(1, T + 1)}
    old, new = range(1, T), range(2, T + 1)
    expected = {
        "accuracy": sum(r[T, j] for j in range(1, T + 1)) / T,
        "backward_transfer": sum(r[T, j] - r[j, j] for j in old) / (T - 1),
        "forgetting": sum(max(r[row, j] for row in range(1, T)) - r[T, j] for j in old) / (T - 1),
        "average_incremental_accuracy": sum(sum(r[t, j] for j in range(1, t + 1)) / t for t in range(1, T + 1)) / T,
        "learning_accuracy": sum(r[j, j] for j in range(1, T + 1)) / T,
        "forward_transfer": sum(r[j - 1, j] - r[0, j] for j in new) / (T - 1),
    }
    got = {name: metric.value for name, metric in summary(R, "domain").items()}
    assert got == pytest.approx(expected, abs=1e-9)


@given(matrices())
def test_relations_between_metrics(R: Matrix) -> None:
    T = R.shape[1]
    assert accuracy(R) == pytest.approx(learning_accuracy(R) + (T - 1) / T * backward_transfer(R), abs=1e-9)
    # The maximum includes the diagonal cell, so forgetting can never be less than −BWT.
    assert forgetting(R) >= -backward_transfer(R) - 1e-9
    assert forgetting(lower(R)) <= forgetting(R) + 1e-9


@given(matrices(), st.floats(-0.5, 0.5))
def test_a_constant_shift_moves_accuracies_and_leaves_differences(R: Matrix, shift: float) -> None:
    before, after = summary(R, "domain"), summary(R + shift, "domain")
    for name, metric in before.items():
        moved = shift if "accuracy" in name else 0.0
        assert metric.value is not None
        assert after[name].value == pytest.approx(metric.value + moved, abs=1e-9)


@given(matrices(), st.data())
def test_a_missing_cell_is_an_error_or_does_not_matter(R: Matrix, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(R) - 1))
    column = data.draw(st.integers(0, R.shape[1] - 1))
    holed = R.copy()
    holed[row, column] = NAN
    above = row <= column
    for definition in METRICS:
        try:
            value = definition.function(holed, "higher")
        except MetricError:
            continue
        if not (definition.name == "forgetting" and above):  # there the maximum is over fewer cells
            assert value == pytest.approx(definition.function(R, "higher"), abs=1e-12)


def test_trap_d4_forgetting_is_not_one_of_the_other_formulas() -> None:
    # Task 1 peaks in row 2 (not on the diagonal) and task 2 ends above everything before.
    R = np.array([[NAN] * 3, [0.6, NAN, NAN], [0.9, 0.5, NAN], [0.7, 0.8, 0.4]])
    assert forgetting(R) == pytest.approx(((0.9 - 0.7) + (0.5 - 0.8)) / 2)  # −0.05
    assert -backward_transfer(R) == pytest.approx(-0.2)  # initial − last
    max_with_last_row = ((0.9 - 0.7) + (0.8 - 0.8)) / 2  # never negative
    consecutive_drop = ((0.9 - 0.7) + (0.5 - 0.8) + (0.6 - 0.9)) / 3
    skipping_the_last_two = 0.9 - 0.7
    for other in (max_with_last_row, consecutive_drop, skipping_the_last_two, -backward_transfer(R)):
        assert forgetting(R) != pytest.approx(other)


def test_trap_unseen_cells_are_never_zero() -> None:
    # With zeros above the diagonal, a stream learned backwards would look as if it had no transfer at all.
    R = lower(REFERENCE)
    with pytest.raises(MetricError, match=r"FWT needs R\[0,2\], the accuracy on task 2 before training"):
        forward_transfer(R)
    R[0] = 0.25
    with pytest.raises(MetricError, match=r"FWT needs R\[1,2\], the accuracy on task 2 after task 1"):
        forward_transfer(R)


def test_trap_d3_the_baseline_is_row_0() -> None:
    R = REFERENCE.copy()
    R[0] = [NAN, 0.1, 0.15]  # the first task has no earlier one: its baseline is not needed
    assert forward_transfer(R) == pytest.approx(((0.2 - 0.1) + (0.3 - 0.15)) / 2)


def test_trap_d1_more_than_ten_and_a_hundred_tasks_keep_their_order() -> None:
    for T in (11, 120):
        R = np.full((T + 1, T), NAN)
        for i in range(1, T + 1):
            R[i, :i] = (np.arange(i) + 1) / 1000  # only columns in learning order give these values
        assert seen_accuracy(R) == pytest.approx([(i + 1) / 2000 for i in range(1, T + 1)])
        R[-1, 1] = 0.5
        expected = np.zeros(T - 1)
        expected[1] = 0.002 - 0.5
        assert forgetting_per_task(R) == pytest.approx(expected)


def test_joint_has_accuracy_only() -> None:
    metrics = summary(JOINT, "class")
    assert metrics["accuracy"].value == pytest.approx(0.8)
    for name in ("backward_transfer", "forgetting", "average_incremental_accuracy", "learning_accuracy"):
        assert metrics[name].value is None
        assert metrics[name].reason == "needs the rows of earlier tasks, and only the last row was measured"


def test_an_unfinished_run_says_so() -> None:
    R = lower(REFERENCE)
    R[-1] = NAN
    reason = summary(R, "task")["accuracy"].reason
    assert reason == "needs the row after the last task, which was not measured"


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_fwt_has_no_meaning_where_a_future_head_is_untrained(scenario: str) -> None:
    metric = summary(REFERENCE, scenario)["forward_transfer"]  # type: ignore[arg-type]
    assert metric.value is None
    assert metric.reason == f"in the {scenario}-incremental scenario the head of a future task is untrained"
    assert summary(REFERENCE, "domain")["forward_transfer"].value == pytest.approx(0, abs=1e-12)


def test_one_task() -> None:
    metrics = summary(np.array([[0.2], [0.7]]), "domain")
    values = {name: metric.value for name, metric in metrics.items() if metric.value is not None}
    assert values == {"accuracy": 0.7, "average_incremental_accuracy": 0.7, "learning_accuracy": 0.7}
    assert metrics["forgetting"].reason == "compares tasks with each other, and there is only one"


def test_every_metric_has_a_value_or_a_reason_never_both() -> None:
    for R in (REFERENCE, JOINT, lower(REFERENCE), np.full((3, 2), NAN)):
        for metric in summary(R, "domain").values():
            assert (metric.value is None) != (metric.reason is None)
            assert metric.symbol in metric.definition


@pytest.mark.parametrize(
    ("R", "message"),
    [
        (np.zeros((3, 3)), r"shape \[3, 3\].*\[T \+ 1, T\]"),
        (np.zeros((1, 0)), "shape"),
        (np.zeros(4), "shape"),
        (np.array([[0.1], [np.inf]]), "infinite"),
    ],
)
def test_what_is_not_an_accuracy_matrix_is_refused(R: Matrix, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        summary(R, "task")


def test_nothing_is_changed_in_place() -> None:
    R = lower(REFERENCE)
    before = R.copy()
    summary(R, "domain")
    np.testing.assert_array_equal(R, before)
