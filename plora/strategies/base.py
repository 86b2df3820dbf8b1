"""One thing that protects old knowledge."""

from abc import ABC
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from plora.model import ContinualModel
from plora.problems import EncodedInputs, EncodedSplit
from plora.processes import Processes
from plora.streams.base import Stream


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Args:
        task: position of the task in the stream, from 0.
        step: optimizer steps done in this phase.
        total: optimizer steps of this phase.
        epoch: full passes done.
        seed: decides what is drawn in this step.
        examples: of the step's batch.
    """

    task: int
    step: int
    total: int
    epoch: int
    seed: int = 0
    examples: int = 1


@dataclass(frozen=True)
class Lesson:
    """The task that is being learned, as a strategy sees it before and after.

    Args:
        position: of the task in the stream, from 0.
        task: its name where the gate needs it, else None.
        train: its training split.
        validation: the inputs of its validation split.
        names: of the class of each row of the head, those of tasks to come included.
        competing: `[rows, rows]` bool; row r says among which rows an example whose true row is r is classified.
        old: rows of the head that older tasks are classified among, a softmax each: one group per task, or one group
            for all of them. Empty in the first task.
        scores: the model as it is, in eval mode: scores `[N, rows]` fp32 of N inputs, on the CPU.
        learning_rate: the peak rate, the highest of its phases.
        autocast: makes the context in which the network computes in the run's precision.
        seed: decides what is drawn for this task.
        warn: tells the user one line that should worry.
        tell: tells the user one line that need not.
        progress: shows how far long work is: what, how much is done, of how much.
        keep: keeps content as a file of the run folder, by its path there; for readers, not for the strategy itself.
        processes: that learn it together; what a strategy remembers must be the same in all of them.
    """

    position: int
    task: str | None
    train: EncodedSplit
    validation: EncodedInputs
    names: tuple[str, ...]
    competing: Tensor
    old: tuple[slice, ...]
    scores: Callable[[EncodedInputs], Tensor]
    autocast: Callable[[], AbstractContextManager[None]]
    learning_rate: float
    seed: int
    warn: Callable[[str], None] = field(default=lambda _: None)
    tell: Callable[[str], None] = field(default=lambda _: None)
    progress: Callable[[str, int, int], None] = field(default=lambda *_: None)
    keep: Callable[[str, bytes], None] = field(default=lambda *_: None)
    processes: Processes = field(default_factory=Processes)


@dataclass(frozen=True)
class Rehearsal:
    """Examples to train on beside the batch.

    Args:
        name: of the term in the loss.
        inputs: they are among these.
        indices: `[n]` which of the inputs, the same one perhaps more than once.
        loss: scores `[b, rows]` and the positions `[b]` of their inputs → a loss per example, already weighted; the
            mean over the n examples is added to the loss of the batch.
    """

    name: str
    inputs: EncodedInputs
    indices: NDArray[np.int64]
    loss: Callable[[Tensor, NDArray[np.int64]], Tensor]


class Strategy(BaseModel, ABC):
    """Settings as fields, what it remembers as private attributes.

    A strategy never steps the optimizer, zeroes a gradient or changes the loss: it answers questions, and the one
    loop acts. It overrides the questions that it has an answer to. Each term it returns is added to the loss of each
    optimizer step and logged by its name; with every `weight` and `…_weight` at 0 it changes no bit.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    replays: ClassVar[bool] = False
    """Old examples are trained on beside new ones, so class-incrementally the rows of both compete in the loss."""
    helps_merging: ClassVar[bool] = False
    """It has a use for tasks that learn alone where their slots are merged later."""

    kind: str

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Return why it has nothing to protect in a method, or None where it has.

        Args:
            slots: `none`, `first`, `one` or `per_task`.
            isolated: a task trains with its own slot alone, so that nothing is shared.
        """
        return None

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Get ready for a run: load what is needed from outside, refuse what it cannot work with.

        Nothing of the run has been written yet.

        Args:
            model: without slots and head rows.
            stream: all tasks.
            names: of the class of each row that the head will have.

        Raises:
            PloraError: what is needed is not there, or does not fit.
        """

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Prepare; what trains is open, and nothing has been trained yet. Called anew when a task is gone on with."""

    def rehearse(self, lesson: Lesson, progress: Progress) -> list[Rehearsal]:
        """Return what else to train on in this step."""
        return []

    def on_batch(self, scores: Tensor, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return terms of the loss that depend on the batch, by name, already weighted.

        Args:
            scores: `[b, rows]` of one micro-batch.
            indices: `[b]` its examples, positions in the training split.

        Returns:
            Sums over the examples, scalars; the loop divides them by the examples of the step.
        """
        return {}

    def penalty(self, model: ContinualModel, progress: Progress) -> dict[str, Tensor]:
        """Return scalars to add to the loss, by name, already weighted; `{}` when there is nothing to protect yet."""
        return {}

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Remember; what was trained is still open."""

    def state(self) -> dict[str, Tensor]:
        """Return what it remembers, by name: a checkpoint keeps it."""
        return {}

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Remember what `state` returned.

        Raises:
            RunError: a tensor is missing or does not fit.
        """

    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return numbers worth logging that are not part of the loss."""
        return {}


SHARES_NOTHING = "each task trains a slot of its own alone, so there is nothing to protect"
