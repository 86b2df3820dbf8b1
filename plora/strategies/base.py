"""One thing that protects old knowledge."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from plora.model import ContinualModel


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Args:
        task: position of the task in the stream, from 0.
        step: optimizer steps done in this phase.
        total: optimizer steps of this phase.
        epoch: full passes done.
    """

    task: int
    step: int
    total: int
    epoch: int


class Strategy(BaseModel, ABC):
    """Settings as fields, what it remembers as private attributes.

    A strategy never steps the optimizer, zeroes a gradient or changes the loss: it answers questions, and the one
    loop acts. Each term it returns is added to the loss once per optimizer step and logged by its name.
    """

    model_config = ConfigDict(extra="forbid")

    kind: str

    @abstractmethod
    def penalty(self, model: ContinualModel, progress: Progress) -> dict[str, Tensor]:
        """Return scalars to add to the loss, by name, already weighted; `{}` when there is nothing to protect yet."""

    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return numbers worth logging that are not part of the loss."""
        return {}
