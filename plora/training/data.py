"""A stream's splits, encoded, and the stages in which they are learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.problems import EncodedInputs, Problem
from plora.streams.base import SplitName, Stream
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class EncodedSplit:
    """One split ready to be batched.

    Args:
        inputs: N encoded inputs.
        rows: `[N]` their rows in the head.
        fingerprint: sha256 of the split's content.
    """

    inputs: EncodedInputs
    rows: NDArray[np.int64]
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def first_batch(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each tensor of the first eight inputs: what preprocessing makes."""
        tensors = self.inputs.collate(np.arange(min(8, len(self))))
        return {name: [float(t.double().mean()), float(t.double().std())] for name, t in tensors.items()}


@dataclass(frozen=True)
class EncodedTask:
    """One task's encoded splits."""

    name: str
    classes: int
    splits: dict[SplitName, EncodedSplit]

    def truncated_share(self) -> float:
        """Return the share of inputs, over all splits, that lost their end."""
        total = sum(len(split) for split in self.splits.values())
        return sum(split.inputs.truncated for split in self.splits.values()) / total


@dataclass(frozen=True)
class Stage:
    """What is learned together: one task, or for `joint` all of them.

    Args:
        name: the slot's name.
        tasks: the tasks learned in this stage.
        train: their training splits, one after the other.
        task_of: `[N]`, for each training example the position of its task in `tasks`.
    """

    name: str
    tasks: tuple[EncodedTask, ...]
    train: EncodedSplit
    task_of: NDArray[np.int64]


def encode_stream(stream: Stream, space: LabelSpace, problem: Problem) -> list[EncodedTask]:
    """Encode every split of every task."""
    return [
        EncodedTask(
            task.name,
            len(task.label_names),
            {
                name: EncodedSplit(problem.encode(split), space.to_rows(task.name, split.labels), split.fingerprint())
                for name, split in task.splits()
            },
        )
        for task in stream.tasks
    ]


def make_stages(tasks: Sequence[EncodedTask], at_once: bool) -> list[Stage]:
    """Return one stage per task, or a single stage `joint` with all of them."""
    groups = [("joint", tuple(tasks))] if at_once else [(task.name, (task,)) for task in tasks]
    stages = []
    for name, members in groups:
        parts = [task.splits["train"] for task in members]
        train = EncodedSplit(
            parts[0].inputs.followed_by([part.inputs for part in parts[1:]]) if at_once else parts[0].inputs,
            np.concatenate([part.rows for part in parts]),
        )
        task_of = np.repeat(np.arange(len(members)), [len(part) for part in parts])
        stages.append(Stage(name, members, train, task_of))
    return stages
