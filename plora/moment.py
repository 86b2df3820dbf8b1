"""Where a training step stands: the only source of noise and of schedules."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Moment:
    """Where training stands.

    Args:
        task: position of the task in the stream, from 0.
        step: optimizer steps done in this phase.
        total: optimizer steps of this phase.
        epoch: full passes done.
        seed: decides what is drawn in this step; the same in every process and micro-batch.
        examples: of the step's batch.
        epochs: passes of this phase.
    """

    task: int
    step: int
    total: int
    epoch: int
    seed: int = 0
    examples: int = 1
    epochs: int = 1

    @property
    def share(self) -> float:
        """How much of the phase is done, 0 to 1."""
        return self.step / max(self.total, 1)
