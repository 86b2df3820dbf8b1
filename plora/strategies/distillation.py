"""Learning without forgetting: the new task's inputs keep the answers that the old model gave."""

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from torch import Tensor

from plora.model import ContinualModel
from plora.strategies.base import SHARES_NOTHING, Lesson, Strategy


class Distillation(Strategy):
    """L = μ τ² Σ_groups KL(softmax(z_old / τ) ‖ softmax(z / τ)), mean over the batch.

    A group is a set of rows that old tasks are classified among: each old task's own rows, or all old rows. z_old are
    the scores of the model as it was before the task, for the task's own training inputs: no old example is needed.
    They are computed once before the task (inputs are not augmented), not with a second forward pass per step.

    Source: Li & Hoiem 2016 (LwF, arXiv 1606.09282).
    """

    kind: Literal["distillation"] = "distillation"
    weight: float = Field(default=1.0, ge=0)
    """μ."""
    temperature: float = Field(default=2.0, gt=0)
    """τ; above 1 the unlikely answers count more."""

    _groups: list[tuple[slice, Tensor]] = PrivateAttr(default_factory=list)

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing."""
        return SHARES_NOTHING if isolated else None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Ask the old model about the new task's inputs."""
        self._groups = []
        if lesson.old and self.weight:
            scores = lesson.scores(lesson.train.inputs)
            self._groups = [
                (rows, F.log_softmax(scores[:, rows] / self.temperature, dim=1).contiguous()) for rows in lesson.old
            ]

    def on_batch(self, scores: Tensor, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return `distillation`, from the second task on."""
        if not self._groups:
            return {}
        where = torch.from_numpy(indices)
        apart = [
            F.kl_div(
                F.log_softmax(scores[:, rows].float() / self.temperature, dim=1),
                teacher[where].to(scores.device),
                reduction="sum",
                log_target=True,
            )
            for rows, teacher in self._groups
        ]
        return {"distillation": self.weight * self.temperature**2 * torch.stack(apart).sum()}
