"""Learning without forgetting: the new task's inputs keep the answers that the old model gave."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PrivateAttr
from torch import Tensor

from plora.model import ContinualModel
from plora.strategies.base import SHARES_NOTHING, Lesson, Seen, Strategy


class Distillation(Strategy):
    """L = μ τ² Σ_groups KL(softmax(z_old / τ) ‖ softmax(z / τ)), mean over the batch.

    A group is a set of rows that old tasks are classified among: each old task's own rows, or all old rows. z_old are
    the scores of the model as it was before the task, for the task's own training inputs: no old example is needed.
    They are computed once before the task; where inputs are augmented, with a second forward pass of the old model.

    Source: Li & Hoiem 2016 (LwF, arXiv 1606.09282).
    """

    kind: Literal["distillation"] = "distillation"
    weight: float = Field(default=1.0, ge=0)
    """μ."""
    temperature: float = Field(default=2.0, gt=0)
    """τ; above 1 the unlikely answers count more."""

    _old: Tensor | None = PrivateAttr(default=None)

    @property
    def reads_scores(self) -> bool:
        """It does."""
        return True

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing."""
        return SHARES_NOTHING if isolated else None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Ask the old model about the new task's inputs."""
        asked = lesson.old and self.weight and lesson.train.fixed
        self._old = lesson.scores(lesson.train) if asked else None

    def on_batch(self, lesson: Lesson, seen: Seen) -> dict[str, Tensor]:
        """Return `distillation`, from the second task on."""
        if not lesson.old or not self.weight:
            return {}
        if self._old is None:
            old = lesson.teacher(seen.batch)["scores"].float()
        else:
            old = self._old[torch.from_numpy(seen.batch.indices)]
        apart = [
            F.kl_div(
                F.log_softmax(seen.scores[:, rows].float() / self.temperature, dim=1),
                F.log_softmax(old[:, rows] / self.temperature, dim=1).to(seen.scores.device),
                reduction="sum",
                log_target=True,
            )
            for rows in lesson.old
        ]
        return {"distillation": self.weight * self.temperature**2 * torch.stack(apart).sum()}
