"""How fast a task is learned: from the validation accuracies on its learning curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from plora.results.record.curves import Point
from plora.results.record.matrix import MetricError
from plora.results.record.score import Better

SHARE = 0.9
"""Of the best accuracy that a task reaches while it is learned."""
_ROUNDING = 1e-12  # 0.9 · 0.8 is more than 0.72 in floats


@dataclass(frozen=True)
class LearningSpeed:
    """How fast one task was learned.

    Args:
        task: its name.
        steps: optimizer steps until its validation accuracy was first at least 90 % of its best.
        total: optimizer steps in all.
        resolution: most steps between two validations, by which `steps` may be too high.
        best: its best validation accuracy.
    """

    task: str
    steps: int
    total: int
    resolution: int
    best: float


def learning_speeds(points: Sequence[Point], better: Better = "higher") -> list[LearningSpeed]:
    """Return how fast each task was learned, in the order of the curve.

        s_j = min {s : v_j(s) ≥ 0.9 · max over s' of v_j(s')}

    v_j(s) is the accuracy on the validation split of task j, among all classes seen, after s optimizer steps in it. Of
    a score where lower is better, s_j is the first with 0.9 v_j(s) ≤ min v_j.

    Args:
        points: of a run's curves.
        better: which way their validation score is better.

    Raises:
        MetricError: a task has fewer than two validations; says how to have more.
    """
    found = []
    points_of: dict[str, list[Point]] = {}
    for point in points:
        points_of.setdefault(point.task, []).append(point)
    for task, own in points_of.items():
        measured = [(point.step, point.validation) for point in own if point.validation is not None]
        if len(measured) < 2:
            raise MetricError(
                f"needs validation accuracies inside a task, and '{task}' has {len(measured)} "
                "(set evaluation.validations, such as 10)",
                "S90",
            )
        best = max(value for _, value in measured) if better == "higher" else min(value for _, value in measured)
        steps = next(step for step, value in measured if _is_near(value, best, better))
        at = [0, *(step for step, _ in measured)]
        gaps = max(after - before for before, after in pairwise(at))
        found.append(LearningSpeed(task, steps, own[-1].step, gaps, best))
    return found


def _is_near(value: float, best: float, better: Better) -> bool:
    return value >= SHARE * best - _ROUNDING if better == "higher" else SHARE * value <= best + _ROUNDING


def learning_speed(points: Sequence[Point], better: Better = "higher") -> float:
    """Return the mean over the tasks of the steps until 90 % of the best validation accuracy.

        S90 = 1/T Σ_j s_j        s_j of `learning_speeds`

    Args:
        points: of a run's curves.
        better: as in `learning_speeds`.

    Raises:
        MetricError: there is no curve, or a task has fewer than two validations.

    Source: our own definition of the "steps to 90 %" by which forward transfer is often told; other work counts from
    the test split, which plora only scores after a task.
    """
    speeds = learning_speeds(points, better)
    if not speeds:
        raise MetricError("needs a learning curve, and nothing was trained step by step", "S90")
    return sum(speed.steps for speed in speeds) / len(speeds)
