"""What a network reaches without reading its inputs: the accuracy of one answer for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plora.results.record.class_rankings import ClassRankings
from plora.results.record.matrix import Matrix
from plora.streams.base import Scenario


@dataclass(frozen=True, eq=False)
class Chance:
    """The accuracy of the most frequent class of the test labels.

    Args:
        tasks: `[T]` fractions, of each task.
        seen: `[T]` fractions, of the mean over the first t tasks, as in A_t.
    """

    tasks: Matrix
    seen: Matrix

    @property
    def mean(self) -> float:
        """Chance of ACC, the mean over all tasks."""
        return float(self.seen[-1])


def chance_of(measured: ClassRankings, tasks: Sequence[str], scenario: Scenario) -> Chance | None:
    """Return the accuracy of a constant answer, given what the scenario tells.

        s_j(c) = share of class c among the test labels of task j
        task-incremental:    chance_j = max_c s_j(c),    chance of A_t = 1/t Σ_{j≤t} chance_j
        otherwise:           chance of A_t = max_c 1/t Σ_{j≤t} s_j(c),    chance_j = s_j(c) of the c that A_T takes

    Who is told the task may answer its most frequent class; who is not has one answer for all tasks.

    Args:
        measured: the labels of the test examples.
        tasks: all T task names, in the order of the matrix's columns.
        scenario: of the run.

    Returns:
        None where a task has no examples.
    """
    parts, C = measured.by_task(), len(measured.class_names)
    if set(tasks) - set(parts):
        return None
    shares = np.stack([np.bincount(parts[task].label, minlength=C) / len(parts[task]) for task in tasks])
    counts = np.arange(1, len(tasks) + 1)
    if scenario == "task":
        of_tasks = shares.max(axis=1)
        return Chance(of_tasks, of_tasks.cumsum() / counts)
    means = shares.cumsum(axis=0) / counts[:, None]
    answer = int(shares.sum(axis=0).argmax())
    return Chance(shares[:, answer], means.max(axis=1))
