"""Which labels were given to examples that may have any number of them: the record of a multi-label run.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), and for each example lists of equal length, one entry for each label that its task asks about: `label`
(int32, global label id), `truth` (bool) and `score` (float32: a label is given where it is 0 or more, and its
probability is 1 / (1 + e^−score)). The file's metadata holds `plora.kind` `label_scores`, `plora.schema` 1 and
`plora.class_names`, a JSON list of the names of all labels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import (
    CLASS_NAMES_KEY,
    KIND_KEY,
    SCHEMA_KEY,
    class_names_of,
    example_columns,
    examples_of,
    read_table,
    require_schema,
    write_columns,
)
from plora.results.record.matrix import Matrix
from plora.results.record.measurements import Chosen, Measurements, Which
from plora.results.record.ragged import Starts, list_columns, places_of, read_lists, require_starts, starts_of
from plora.results.record.score import Score
from plora.sealed import Identity

SCHEMA = 1
_TYPES = {"label": pa.int32(), "truth": pa.bool_(), "score": pa.float32()}


@dataclass(frozen=True, eq=False)
class LabelScores(Measurements):
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

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    starts: Starts
    label: NDArray[np.int32]
    truth: NDArray[np.bool_]
    score: NDArray[np.float32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        require_starts(self.starts, len(self.task), len(self.label), "label scores")
        if len(self.example) != len(self.task) or not len(self.label) == len(self.truth) == len(self.score):
            raise RunError("label scores: columns differ in length")
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

    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically."""
        lists = {
            "label": self.label.astype(np.int32),
            "truth": self.truth.astype(np.bool_),
            "score": self.score.astype(np.float32),
        }
        names = json.dumps(self.class_names)
        columns = example_columns(self.task, self.example) | list_columns(self.starts, lists)
        write_columns(path, columns, {KIND_KEY: self.kind, SCHEMA_KEY: str(SCHEMA), CLASS_NAMES_KEY: names}, of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: it is missing or damaged, a column is missing or has another type, a value is out of range.
        """
        table = read_table(path)
        require_schema(path, table, cls.kind, SCHEMA)
        starts, flat = read_lists(path, table, _TYPES)
        task, example = examples_of(path, table)
        try:
            return cls(task, example, starts, **flat, class_names=class_names_of(path, table))  # type: ignore[arg-type]
        except RunError as error:
            raise RunError(f"{path}: {error}") from None

    def rows(self, chosen: Which) -> Self:
        """Return some of the examples."""
        places, starts = places_of(self.starts, chosen)
        return type(self)(
            self.task[chosen],
            self.example[chosen],
            starts,
            self.label[places],
            self.truth[places],
            self.score[places],
            self.class_names,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of several.

        Raises:
            RunError: there are none, or they have other labels.
        """
        if not parts:
            raise RunError("label scores: there is nothing to join")
        if any(part.class_names != parts[0].class_names for part in parts):
            raise RunError("label scores: records of other labels cannot be joined")
        return cls(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.example for part in parts]),
            starts_of(np.concatenate([np.diff(part.starts) for part in parts])),
            np.concatenate([part.label for part in parts]),
            np.concatenate([part.truth for part in parts]),
            np.concatenate([part.score for part in parts]),
            parts[0].class_names,
        )

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
