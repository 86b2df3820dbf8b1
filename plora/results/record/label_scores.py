"""Which labels were given to examples that may have any number of them: the record of a multi-label run.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), and for each example lists of equal length, one entry for each label that its task asks about: `label`
(int32, global label id), `truth` (bool) and `score` (float32: a label is given where it is 0 or more, and its
probability is 1 / (1 + e^−score)). The file's metadata holds `plora.kind` `label_scores`, `plora.schema` 1 and
`plora.class_names`, a JSON list of the names of all labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.list_measurements import ListMeasurements
from plora.results.record.matrix import Matrix
from plora.results.record.measurements import Chosen
from plora.results.record.ragged import Starts
from plora.results.record.score import Score


@dataclass(frozen=True, eq=False)
class LabelScores(ListMeasurements):
    """N examples of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each example.
        example: `[N]` int32, its position in the split of its task that was scored.
        starts: `[N + 1]` int64, where the labels of each example begin, and the end of the last.
        label: `[M]` int32, ids of the labels that are asked about, indices into `class_names`.
        truth: `[M]` bool, which of them the example has.
        score: `[M]` float32, finite; those from 0 on are given to the example.
        class_names: the name of each global label id; a name may occur in more than one task.

    Raises:
        RunError: the columns do not fit each other, a label is out of range, or a score is not finite.
    """

    kind: ClassVar[str] = "label_scores"
    scores: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "mean_average_precision", "exact_match")
    types: ClassVar[Mapping[str, pa.DataType]] = {"label": pa.int32(), "truth": pa.bool_(), "score": pa.float32()}
    nouns: ClassVar[tuple[str, str, str]] = ("examples", "numbers", "labels")

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    starts: Starts
    label: NDArray[np.int32]
    truth: NDArray[np.bool_]
    score: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        self.require_lists()
        if len(self.label) and not 0 <= int(self.label.min()) <= int(self.label.max()) < len(self.class_names):
            raise RunError(f"label scores: a label is out of range, there are {len(self.class_names)} labels")
        if not bool(np.isfinite(self.score).all()):
            raise RunError("label scores: a score is NaN or infinite")

    def answers(self) -> NDArray[np.bool_]:
        """Return the truth of every label that is asked about."""
        return self.truth

    @property
    def given(self) -> NDArray[np.bool_]:
        """`[M]` which labels were given."""
        found: NDArray[np.bool_] = self.score >= 0
        return found

    def counts(self) -> NDArray[np.int64]:
        """Return `[labels, 3]`: how many examples have a label and were given it, lack it and were, have it and were
        not."""
        found = np.zeros((len(self.class_names), 3), np.int64)
        outcomes = (self.truth & self.given, ~self.truth & self.given, self.truth & ~self.given)
        for column, outcome in enumerate(outcomes):
            found[:, column] = np.bincount(self.label[outcome], minlength=len(found))
        return found

    def f1(self) -> Matrix:
        """Return `[labels]`: F1 of each label, NaN where no example has it and none was given it.

        F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)
        """
        hits, wrong, missed = self.counts().T.astype(np.float64)
        whole = 2 * hits + wrong + missed
        found: Matrix = np.divide(2 * hits, whole, out=np.full(len(hits), np.nan), where=whole > 0)
        return found

    def average_precisions(self) -> Matrix:
        """Return `[labels]`: the average precision of each label, NaN where no example has it; see
        `average_precision`."""
        found = np.full(len(self.class_names), np.nan)
        order = np.argsort(self.label, kind="stable")
        ids, begins = np.unique(self.label[order], return_index=True)
        for label, places in zip(ids.tolist(), np.split(order, begins[1:]), strict=True):
            found[label] = average_precision(self.truth[places], self.score[places])
        return found

    def value(self, score: Score) -> float:
        """Return a score of all examples together; NaN where it has none.

            micro-F1 = 2 Σ TP / (2 Σ TP + Σ FP + Σ FN) over all labels of all examples
            macro-F1 = mean of F1_c over the labels that an example has or was given; see `f1`
            mean average precision = mean of AP_c over the labels that an example has
            exact match = share of the examples that were given their labels and no other

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        if not len(self):
            return float("nan")
        if score.name == "micro_f1":
            hits, wrong, missed = self.counts().sum(0).tolist()
            whole = 2 * hits + wrong + missed
            return 2 * hits / whole if whole else float("nan")
        if score.name == "exact_match":
            wrong_in = np.repeat(np.arange(len(self)), np.diff(self.starts))[self.truth != self.given]
            return 1 - len(np.unique(wrong_in)) / len(self)
        each = self.f1() if score.name == "macro_f1" else self.average_precisions()
        return float("nan") if np.isnan(each).all() else float(np.nanmean(each))

    def differs(self, other: Self) -> Chosen:
        """Return which examples were given other labels, or are asked about others."""
        found = ~np.equal(np.diff(self.starts), np.diff(other.starts))
        if not found.any():
            of = np.repeat(np.arange(len(self)), np.diff(self.starts))
            found[of[(self.given != other.given) | (self.label != other.label) | (self.truth != other.truth)]] = True
        return found

    def farthest(self, other: Self) -> float:
        """Return the largest difference of a score; infinite where other labels are asked about."""
        if not np.array_equal(self.label, other.label):
            return float("inf")
        return float(np.abs(self.score.astype(np.float64) - other.score).max(initial=0.0))


def average_precision(truth: NDArray[np.bool_], score: NDArray[np.floating]) -> float:
    """Return the average precision of one label; NaN where no example has it.

        AP = Σ_k (R_k − R_{k−1}) P_k over the distinct scores, from the highest down; equal ones count together

    Args:
        truth: `[N]`, which examples have it.
        score: `[N]`, high where it is likely.

    Source: as `average_precision_score` of scikit-learn has it, without interpolation.
    """
    if not truth.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)  # of each group of equal scores
    precision = hits[last] / (last + 1)
    return float((np.diff(hits[last], prepend=0) * precision).sum() / hits[-1])
