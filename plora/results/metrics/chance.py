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
        tasks: `[T]` fractions, of each task; NaN where a task has no examples.
        seen: `[T]` fractions, of the mean over the first t tasks, as in A_t; NaN where one of them has no examples.
    """

    tasks: Matrix
    seen: Matrix

    @property
    def mean(self) -> float:
        """Chance of ACC, the mean over all tasks."""
        return float(self.seen[-1])


def chance_of(measured: ClassRankings, tasks: Sequence[str], scenario: Scenario) -> Chance:
    """Return the accuracy of a constant answer, given what the scenario tells.

        s_j(c) = share of class c among the test labels of task j
        task-incremental:    chance_j = max_c s_j(c),    chance of A_t = 1/t Σ_{j≤t} chance_j
        otherwise:           chance of A_t = max_c 1/t Σ_{j≤t} s_j(c),    chance_j = s_j(c) of the c that A_T takes

    Who is told the task may answer its most frequent class; who is not has one answer for all tasks.

    Args:
        measured: the labels of the test examples.
        tasks: all T task names, in the order of the matrix's columns.
        scenario: of the run.
    """
    parts = measured.by_task()
    shares = np.full((len(tasks), len(measured.class_names)), np.nan)
    for j, task in enumerate(tasks):
        if task in parts:
            shares[j] = np.bincount(parts[task].label, minlength=shares.shape[1]) / len(parts[task])
    counts = np.arange(1, len(tasks) + 1)
    if scenario == "task":
        of_tasks = shares.max(axis=1)
        return Chance(of_tasks, of_tasks.cumsum() / counts)
    means = shares.cumsum(axis=0) / counts[:, None]
    answer = int(np.nansum(shares, axis=0).argmax())
    return Chance(shares[:, answer], means.max(axis=1))
