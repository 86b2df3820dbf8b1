"""A stream's splits, encoded, and the stages in which they are learned."""

from collections.abc import Sequence
from dataclasses import dataclass

from plora.problems import Examples, Problem
from plora.streams.base import SplitName, Stream
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class EncodedTask:
    """One task's encoded splits."""

    name: str
    classes: int
    splits: dict[SplitName, Examples]

    def truncated_share(self) -> float:
        """Return the share of inputs, over all splits, that lost their end."""
        total = sum(len(split) for split in self.splits.values())
        return sum(split.truncated for split in self.splits.values()) / total


@dataclass(frozen=True)
class Stage:
    """What is learned together: one task, or for `joint` all of them.

    Args:
        name: the slot's name.
        tasks: the tasks learned in this stage.
        train: their training splits, one after the other.
    """

    name: str
    tasks: tuple[EncodedTask, ...]
    train: Examples


def encode_stream(stream: Stream, space: LabelSpace, problem: Problem) -> list[EncodedTask]:
    """Encode every split of every task."""
    encoded = []
    for task in stream.tasks:
        first = space.rows_of(task.name).start
        splits = {name: problem.encode(split, first) for name, split in task.splits()}
        splits["train"] = problem.weighed(splits["train"], task.label_names, first)
        encoded.append(EncodedTask(task.name, len(task.label_names), splits))
    return encoded


def make_stages(tasks: Sequence[EncodedTask], at_once: bool) -> list[Stage]:
    """Return one stage per task, or a single stage `joint` with all of them."""
    groups = [("joint", tuple(tasks))] if at_once else [(task.name, (task,)) for task in tasks]
    stages = []
    for name, members in groups:
        parts = [task.splits["train"] for task in members]
        stages.append(Stage(name, members, parts[0].followed_by(parts[1:]) if at_once else parts[0]))
    return stages
