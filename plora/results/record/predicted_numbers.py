"""Which numbers were predicted of examples: the record of a regression run.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), `target` and `prediction` (lists of float64 of equal length, a number for each that the task asks for,
in the unit of the data). The file's metadata holds `plora.kind` `predicted_numbers` and `plora.schema` 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.list_measurements import ListMeasurements
from plora.results.record.measurements import Chosen
from plora.results.record.ragged import Starts
from plora.results.record.score import Score

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PredictedNumbers(ListMeasurements):
    """N examples of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each example.
        example: `[N]` int32, its position in the split of its task that was scored.
        starts: `[N + 1]` int64, where the numbers of each example begin, and the end of the last.
        target: `[M]` float64, the true numbers, finite, in the unit of the data.
        prediction: `[M]` float64, those that were predicted.

    Raises:
        RunError: the columns do not fit each other, or a number is not finite.
    """

    kind: ClassVar[str] = "predicted_numbers"
    scores: ClassVar[tuple[str, ...]] = ("mean_absolute_error", "pearson", "spearman")
    types: ClassVar[Mapping[str, pa.DataType]] = {"target": pa.float64(), "prediction": pa.float64()}
    nouns: ClassVar[tuple[str, str, str]] = ("examples", "numbers", "")

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    starts: Starts
    target: Numbers
    prediction: Numbers

    def __post_init__(self) -> None:
        self.require_lists()
        if not bool(np.isfinite(self.target).all() and np.isfinite(self.prediction).all()):
            raise RunError("predicted numbers: a number is NaN or infinite")

    def answers(self) -> Numbers:
        """Return the targets."""
        return self.target

    def value(self, score: Score) -> float:
        """Return a score of all examples together; of several numbers the mean of each number's own.

            mean absolute error = mean |prediction − target|
            pearson = cov(prediction, target) / (σ_prediction σ_target)
            spearman = pearson of their ranks, equal numbers having the mean of theirs

        The two correlations are NaN where targets are all the same, and 0 where predictions are and targets are not:
        a constant says nothing of the order.

        Examples of tasks with other numbers have no score together: NaN.

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        counts = np.unique(np.diff(self.starts))
        if len(counts) != 1:
            return float("nan")
        of_one = _OF_ONE[score.name]
        targets, predictions = (flat.reshape(len(self), int(counts[0])).T for flat in (self.target, self.prediction))
        values = [of_one(target, prediction) for target, prediction in zip(targets, predictions, strict=True)]
        return float(np.mean(values))

    def differs(self, other: Self) -> Chosen:
        """Return which examples have other numbers, true or predicted."""
        found: Chosen = ~np.equal(np.diff(self.starts), np.diff(other.starts))
        if not found.any():
            of = np.repeat(np.arange(len(self)), np.diff(self.starts))
            found[of[(self.target != other.target) | (self.prediction != other.prediction)]] = True
        return found

    def farthest(self, other: Self) -> float:
        """Return the largest difference of a prediction; infinite where other numbers are asked for."""
        if not np.array_equal(self.target, other.target):
            return float("inf")
        return float(np.abs(self.prediction - other.prediction).max(initial=0.0))


def mean_absolute_error(target: Numbers, prediction: Numbers) -> float:
    """Return mean |prediction − target|, of `[N]` each."""
    return float(np.abs(prediction - target).mean())


def pearson(target: Numbers, prediction: Numbers) -> float:
    """Return the correlation of `[N]` numbers; NaN where targets are all the same, 0 where predictions alone are."""
    if np.ptp(target) == 0:
        return float("nan")
    if np.ptp(prediction) == 0:
        return 0.0
    # Divided by the largest first: squares of large numbers would be infinite.
    x, y = (numbers - numbers.mean() for numbers in (target, prediction))
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))


def spearman(target: Numbers, prediction: Numbers) -> float:
    """Return the correlation of the ranks of `[N]` numbers; see `pearson`."""
    return pearson(_ranks(target), _ranks(prediction))


def _ranks(numbers: Numbers) -> Numbers:
    """Ranks from 1; equal numbers have the mean of theirs."""
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Numbers = (ends - (counts - 1) / 2)[which]
    return ranks


_OF_ONE: dict[str, Callable[[Numbers, Numbers], float]] = {
    "mean_absolute_error": mean_absolute_error,
    "pearson": pearson,
    "spearman": spearman,
}
