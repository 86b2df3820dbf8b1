"""What was measured per example in one row of the matrix: from it every score is recomputed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.matrix import Matrix
from plora.results.record.score import Score
from plora.sealed import Identity

Chosen = NDArray[np.bool_]
Which = NDArray[np.bool_] | NDArray[np.int64]


class Measurements(ABC):
    """N examples of one or more tasks, after one row of the matrix. A kind is one file and one line in `MEASUREMENTS`.

    Attributes:
        kind: its name, which its files hold under `plora.kind`.
        scores: names of the scores that can be computed from it.
        task: `[N]` strings, the task of each example.
        example: `[N]` int32, its position in the split of its task that was scored.
    """

    kind: ClassVar[str]
    scores: ClassVar[tuple[str, ...]]
    task: NDArray[np.str_]
    example: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.task)

    @abstractmethod
    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically.

        Args:
            path: the file.
            of: whose it is.
        """

    @classmethod
    @abstractmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: it is missing or damaged, a column is missing or has another type, a value is out of range.
        """

    @abstractmethod
    def rows(self, chosen: Which) -> Self:
        """Return some of the examples: those where `chosen`, `[N]`, is true, or those at its positions."""

    @classmethod
    @abstractmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of several, one after the other.

        Raises:
            RunError: there are none, or they differ in what all examples have in common, such as names of classes.
        """

    @abstractmethod
    def value(self, score: Score) -> float:
        """Return a score of all examples together; NaN where it has none, as without examples.

        Raises:
            RunError: this kind cannot give the score.
        """

    @abstractmethod
    def differs(self, other: Self) -> Chosen:
        """Return `[N]`: which examples came out otherwise in `other`, which has the same ones; see `changed`."""

    @abstractmethod
    def farthest(self, other: Self) -> float:
        """Return the largest difference from `other`, which has the same examples; see `largest_difference`."""

    def answers(self) -> NDArray[np.generic] | None:
        """Return what was true: the class of each example, `[N]`, or their targets, one example after the other; None
        where answers are neither."""
        return None

    @classmethod
    def names_classes(cls) -> bool:
        """Say whether it has `class_names`, of what ids in its columns mean."""
        return "class_names" in getattr(cls, "__dataclass_fields__", ())

    def renamed(self, names: tuple[str, ...]) -> Self:
        """Return the same with other `class_names`; as it is where it has none."""
        return replace(self, class_names=names) if self.names_classes() else self  # type: ignore[type-var]

    def of(self, task: str) -> Self:
        """Return the examples of one task; there may be none."""
        return self.rows(self.task == task)

    def by_task(self) -> dict[str, Self]:
        """Return the examples of each task by its name, in the order in which tasks occur; looks at each example once.

        Those of one task need not stand together.
        """
        names, codes = np.unique(self.task, return_inverse=True)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        parts = {
            str(name): order[end - count : end]
            for name, end, count in zip(names, ends, np.diff(ends, prepend=0), strict=True)
        }
        return {name: self.rows(parts[name]) for name in dict.fromkeys(self.task.tolist())}

    def cell(self, task: str, score: Score) -> float:
        """Return a score of the examples of one task: a cell of the matrix; NaN where there are none.

        Raises:
            RunError: this kind cannot give the score.
        """
        return self.of(task).value(score)

    def cells(self, tasks: Sequence[str], score: Score) -> Matrix:
        """Return `[T]` float64: the score of each task, one row of the matrix; NaN for a task without examples.

        Args:
            tasks: all T task names, in the order of the matrix's columns.
            score: what a cell is.

        Raises:
            RunError: there are examples of a task that is not in `tasks`, or this kind cannot give the score.
        """
        unknown = sorted(set(self.task.tolist()) - set(tasks))
        if unknown:
            raise RunError(f"predictions name the task '{unknown[0]}', the run has: {', '.join(tasks)}")
        parts, none = self.by_task(), self.rows(np.zeros(len(self), np.bool_))
        return np.array([parts.get(task, none).value(score) for task in tasks], dtype=np.float64)

    def changed(self, other: Self) -> int:
        """Return how many examples came out otherwise in `other`, measured again.

        Raises:
            RunError: `other` has other examples.
        """
        self._require_same_examples(other)
        return int(self.differs(other).sum())

    def largest_difference(self, other: Self) -> float:
        """Return the largest difference between any two numbers of this record and of `other`, measured again.

        Raises:
            RunError: `other` has other examples.
        """
        self._require_same_examples(other)
        return self.farthest(other) if len(self) else 0.0

    def _require_same_examples(self, other: Self) -> None:
        if not np.array_equal(self.task, other.task) or not np.array_equal(self.example, other.example):
            raise RunError("two records of other examples cannot be compared; score the same split of the same tasks")

    def _unknown(self, score: Score) -> RunError:
        known = ", ".join(self.scores)
        return RunError(f"{self.kind.replace('_', ' ')} cannot give the score '{score.name}'; they give {known}")
