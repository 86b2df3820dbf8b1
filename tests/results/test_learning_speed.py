import pytest

from plora.results import MetricError, Point
from plora.results.metrics.learning_speed import LearningSpeed, learning_speed, learning_speeds


def curve(task: str, *measured: tuple[int, float | None]) -> list[Point]:
    return [Point(task, step, 0.0, 1.0, validation=accuracy) for step, accuracy in measured]


def test_steps_to_90_percent_by_hand() -> None:
    # best 0.8, so 0.72 is enough; 0.72 at step 20 is, 0.719 at step 10 is not; what is not measured does not count
    first = curve("a", (5, None), (10, 0.719), (20, 0.72), (30, 0.8), (40, 0.75), (45, None))
    second = curve("b", (10, 0.5), (30, 0.55))  # at its first validation already
    assert learning_speeds([*first, *second]) == [
        LearningSpeed("a", 20, 45, 10, 0.8),
        LearningSpeed("b", 10, 30, 20, 0.55),
    ]
    assert learning_speed([*first, *second]) == 15


def test_without_validations_there_is_a_reason() -> None:
    with pytest.raises(
        MetricError, match=r"S90 needs validation accuracies inside a task, and 'a' has 1 .*validations"
    ):
        learning_speed(curve("a", (1, 0.5), (2, None)))
    with pytest.raises(MetricError, match="nothing was trained step by step"):
        learning_speed([])
