"""From tasks with labels of their own to one row of logits per class, as the scenario says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Scenario, Stream


@dataclass(frozen=True)
class LabelSpace:
    """Which rows of the head belong to which task.

    `task` and `class`: a block of rows per task, one below the other. `domain`: one block that all tasks share.
    They differ in what may be predicted: see `visible`.

    Args:
        scenario: who knows what at test time.
        blocks: for each task the name of its block (its own, or the first task's when shared).
        rows: rows of each block.
        names: the class name of each row.
    """

    scenario: Scenario
    blocks: dict[str, str]
    rows: dict[str, slice]
    names: tuple[str, ...]

    @classmethod
    def of(cls, stream: Stream, scenario: Scenario) -> "LabelSpace":
        """Lay out the rows of a stream.

        Raises:
            DataError: the stream cannot give this scenario.
        """
        stream.require(scenario)
        return cls.lay_out({task.name: task.label_names for task in stream.tasks}, scenario)

    @classmethod
    def lay_out(cls, labels: Mapping[str, Sequence[str]], scenario: Scenario) -> "LabelSpace":
        """Lay out the rows of tasks by their label names, in the order of the mapping."""
        first = next(iter(labels))
        blocks: dict[str, str] = {}
        rows: dict[str, slice] = {}
        names: list[str] = []
        for task, label_names in labels.items():
            shared = scenario == "domain" and bool(rows)
            blocks[task] = first if shared else task
            if not shared:
                rows[task] = slice(len(names), len(names) + len(label_names))
                names += label_names
        return cls(scenario, blocks, rows, tuple(names))

    def rows_of(self, task: str) -> slice:
        """Return the rows that hold a task's labels."""
        return self.rows[self.blocks[task]]

    def to_rows(self, task: str, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return row ids for labels local to a task, `[N]`."""
        rows: NDArray[np.int64] = labels + self.rows_of(task).start
        return rows

    def visible(self, task: str | None, seen: Sequence[str]) -> NDArray[np.bool_]:
        """Return which rows a prediction may take, `[rows]`.

        Args:
            task: the task the inputs come from; read in the task scenario alone.
            seen: tasks whose classes are known by now.
        """
        mask = np.zeros(len(self.names), dtype=np.bool_)
        for name in [task] if self.scenario == "task" and task is not None else seen:
            mask[self.rows_of(name)] = True
        return mask
