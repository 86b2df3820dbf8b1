"""One thing that protects old knowledge."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import Batch, Examples
from plora.strategies.settings import StrategySettings
from plora.streams.base import Stream


@dataclass(frozen=True)
class Seen:
    """A micro-batch and what the model makes of it.

    Args:
        batch: examples, on the model's device.
        outputs: of the model, by name.
    """

    batch: Batch
    outputs: Mapping[str, Tensor]

    @property
    def scores(self) -> Tensor:
        """`[B, rows]` of the head, where there is one; of parts of examples `[P, rows]`."""
        return self.outputs["scores"]


@dataclass(frozen=True)
class Rehearsal:
    """Examples to train on beside the batch.

    Args:
        name: of the term in the loss.
        examples: those are among these.
        indices: `[n]` which of them, the same one perhaps more than once.
        losses: what is seen → sums over the examples by name, already weighted. One that has the name of a weight of
            the batch is divided by the weights of all n examples, any other by n; that is added to the loss.
    """

    name: str
    examples: Examples
    indices: NDArray[np.int64]
    losses: Callable[[Seen], Mapping[str, Tensor]]


class Strategy:
    """Made with its settings; what it remembers are attributes of its own.

    A strategy never steps the optimizer, zeroes a gradient or changes the loss: it answers questions, and the one
    loop acts. It overrides the questions that it has an answer to. Each term it returns is added to the loss of each
    optimizer step and logged by its name; with every `weight` and `…_weight` at 0 it changes no bit.
    """

    settings: StrategySettings

    def __init__(self, settings: StrategySettings) -> None:
        self.settings = settings

    @property
    def kind(self) -> str:
        """Its name in configs, logs and checkpoints."""
        return self.settings.kind

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

    def design(self, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        """Fix a part of the open slot, before what is frozen is hashed.

        It may write values into open parameters, as a function of the lesson and of what it remembers alone: it is
        asked anew when a task is gone on with.

        Returns:
            Names, as in `model.trainable()`, of the parameters that do not train in this task.
        """
        return ()

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Prepare; what trains is open, and nothing has been trained yet. Called anew when a task is gone on with."""

    def rehearse(self, lesson: Lesson, at: Moment) -> list[Rehearsal]:
        """Return what else to train on in this step."""
        return []

    def on_batch(self, lesson: Lesson, seen: Seen) -> dict[str, Tensor]:
        """Return terms of the loss that depend on the batch, by name, already weighted.

        Args:
            lesson: the task that is being learned.
            seen: one micro-batch of its training split.

        Returns:
            Sums over the examples, scalars; the loop divides them by the examples of the step.
        """
        return {}

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
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
