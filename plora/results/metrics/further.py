"""Metrics that need more than the accuracy matrix: test sizes, a reference, the predictions or the learning curve."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plora.results.metrics.classification import expected_calibration_error, macro_f1, task_accuracy
from plora.results.metrics.learning_speed import learning_speed
from plora.results.metrics.pooled import pooled_accuracy, pooled_average_incremental_accuracy
from plora.results.metrics.references import forward_transfer_of_learning, intransigence
from plora.results.record.matrix import Matrix, MetricError
from plora.results.record.matrix_metrics import METRICS, Metric

Needs = Literal["sizes", "joint", "single", "predictions", "curves"]

MISSING: Mapping[Needs, str] = {
    "sizes": "needs the number of test examples of each task (plora metrics --sizes)",
    "joint": "needs a reference, the accuracies of joint training (plora metrics --joint)",
    "single": "needs a reference, the accuracies of each task learned alone (plora metrics --single)",
    "predictions": "needs the predictions of a run folder",
    "curves": "needs the learning curve of a run folder",
}
"""Why a metric has no value when what it needs was not given."""


@dataclass(frozen=True)
class Further:
    """One metric that needs more than the matrix.

    Args:
        name, symbol, title, text: as in `Metric`; `text` is its definition.
        needs: `sizes` and the references are `[T]`, `predictions` are `Predictions` after the last row, `curves` are
            points.
        function: of the matrix and what it needs.
    """

    name: str
    symbol: str
    title: str
    text: str
    needs: Needs
    function: Callable[[Matrix, Any], float]

    def metric(self, R: Matrix, given: object) -> Metric:
        """Return the metric of a matrix and what it needs; the reason instead of a value where that is None."""
        if given is None:
            return self.missing(MISSING[self.needs])
        try:
            return Metric(self.name, self.symbol, self.title, self.text, self.function(R, given))
        except MetricError as error:
            return self.missing(error.reason)

    def missing(self, reason: str) -> Metric:
        """Return the metric without a value."""
        return Metric(self.name, self.symbol, self.title, self.text, None, reason)


FURTHER = (
    Further(
        "pooled_accuracy",
        "ACC pooled",
        "Last accuracy over all test examples",
        "Share of right predictions among the test examples of all tasks after the last one: "
        "ACC pooled = (sum over j of n_j R[T,j]) / (sum over j of n_j).",
        "sizes",
        pooled_accuracy,
    ),
    Further(
        "pooled_average_incremental_accuracy",
        "AIA pooled",
        "Average incremental accuracy over all test examples",
        "Share of right predictions among the test examples seen so far, averaged over the tasks: "
        "AIA pooled = mean over t of (sum over j ≤ t of n_j R[t,j]) / (sum over j ≤ t of n_j).",
        "sizes",
        pooled_average_incremental_accuracy,
    ),
    Further(
        "intransigence",
        "I",
        "Intransigence",
        "How far a task just learned stays below joint training: I = mean over k of a*_k − R[k,k].",
        "joint",
        intransigence,
    ),
    Further(
        "forward_transfer_of_learning",
        "FWT_learn",
        "Forward transfer of learning",
        "How much better a task is learned after the others than alone: "
        "FWT_learn = mean over t of R[t,t] − R_single[t].",
        "single",
        forward_transfer_of_learning,
    ),
    Further(
        "macro_f1",
        "macro-F1",
        "Macro-F1",
        "Mean over the classes of the F1 of all test examples after the last row: "
        "macro-F1 = mean over c of 2 TP_c / (2 TP_c + FP_c + FN_c).",
        "predictions",
        lambda _, predictions: macro_f1(predictions),
    ),
    Further(
        "task_accuracy",
        "TA",
        "Task accuracy",
        "Share of the test examples after the last row whose predicted class is one of their own task (100 % where the "
        "task is given; of a method that routes, the accuracy of its router): "
        "TA = mean over n of 1 if task(prediction_n) is task_n.",
        "predictions",
        lambda _, predictions: task_accuracy(predictions),
    ),
    Further(
        "expected_calibration_error",
        "ECE",
        "Expected calibration error",
        "Distance between probability and share of right predictions, 15 equal-width bins: "
        "ECE = sum over bins of N_b/N · abs(accuracy_b − probability_b).",
        "predictions",
        lambda _, predictions: expected_calibration_error(predictions),
    ),
    Further(
        "learning_speed",
        "S90",
        "Learning speed",
        "Mean over the tasks of the optimizer steps until 90 % of the best validation accuracy of the task: "
        "S90 = mean over j of the first s with v_j(s) ≥ 0.9 max v_j.",
        "curves",
        lambda _, points: learning_speed(points),
    ),
)
"""In the order in which tables show them."""

SYMBOLS = {definition.name: definition.symbol for definition in (*METRICS, *FURTHER)}
"""The symbol of every metric by its name: first those of the matrix."""

_POINTS = {"backward_transfer", "forgetting", "forward_transfer", "intransigence", "forward_transfer_of_learning"}


def unit(name: str) -> str:
    """Return "points" for a metric that is a difference of accuracies, "steps" for S90, "%" for every other."""
    if name == "learning_speed":
        return "steps"
    return "points" if name in _POINTS else "%"
