"""The task that is being learned, as those are told that protect old knowledge or write texts of it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from torch import Tensor

from plora.model import ContinualModel
from plora.problems import Batch, Examples
from plora.processes import Processes


@dataclass(frozen=True)
class Practice:
    """What another model than the run's learns beside it, in an open slot of its own.

    Args:
        what: it learns, for people.
        model: that learns.
        task: name of the slot, as the model's gate is told it.
        examples: it learns.
        epochs: passes over them.
        learning_rate: of the first step.
        batch_size: examples of one step.
    """

    what: str
    model: ContinualModel
    task: str
    examples: Examples
    epochs: int
    learning_rate: float
    batch_size: int


Show = Callable[[str, int, int], None]
"""Shows how far long work is: what, how much is done, of how much."""


@dataclass(frozen=True)
class Lesson:
    """The task that is being learned, as a strategy sees it before and after.

    Args:
        position: of the task in the stream, from 0.
        task: its name where the gate needs it, else None.
        train: its training split.
        validation: its validation split.
        names: of the class of each row of the head, those of tasks to come included.
        competing: `[rows, rows]` bool; row r says among which rows an example whose true row is r is classified.
        losses: outputs and batch → the problem's losses, sums by name; see `Problem.losses`.
        old: rows of the head that older tasks are classified among, a softmax each: one group per task, or one group
            for all of them. Empty in the first task.
        scores: the model as it is, in eval mode: scores `[N, rows]` fp32 of N examples, on the CPU.
        teacher: the model as it was when the task began, in eval mode: its outputs for a batch, without gradients.
        practise: trains another model beside the run's, as this lesson has it: the mean loss of each epoch.
        learning_rate: the peak rate, the highest of its phases.
        autocast: makes the context in which the network computes in the run's precision.
        seed: decides what is drawn for this task.
        warn: tells the user one line that should worry.
        tell: tells the user one line that need not.
        progress: shows how far long work is: what, how much is done, of how much.
        keep: keeps content as a file of the run folder, by its path there; for readers, not for the strategy itself.
        right: outputs and batch → which examples are answered rightly, where that can be said; see `Problem.right`.
        processes: that learn it together; what a strategy remembers must be the same in all of them.
    """

    position: int
    task: str | None
    train: Examples
    validation: Examples
    names: tuple[str, ...]
    competing: Tensor
    losses: Callable[[Mapping[str, Tensor], Batch], Mapping[str, Tensor]]
    old: tuple[slice, ...]
    scores: Callable[[Examples], Tensor]
    teacher: Callable[[Batch], Mapping[str, Tensor]]
    autocast: Callable[[], AbstractContextManager[None]]
    practise: Callable[[Practice, "Lesson"], list[float]]
    learning_rate: float
    seed: int
    warn: Callable[[str], None] = field(default=lambda _: None)
    tell: Callable[[str], None] = field(default=lambda _: None)
    progress: Show = field(default=lambda *_: None)
    keep: Callable[[str, bytes], None] = field(default=lambda *_: None)
    right: Callable[[Mapping[str, Tensor], Batch], Tensor | None] = field(default=lambda *_: None)
    processes: Processes = field(default_factory=Processes)
