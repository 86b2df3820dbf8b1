"""Learning without forgetting: the new task's inputs keep the answers that the old model gave."""

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.strategies.base import Seen, Strategy
from plora.strategies.settings import DistillationSettings


class Distillation(Strategy):
    """L = μ τ² Σ_groups KL(softmax(z_old / τ) ‖ softmax(z / τ)), mean over the batch.

    A group is a set of rows that old tasks are classified among: each old task's own rows, or all old rows. z_old are
    the scores of the model as it was before the task, for the task's own training inputs: no old example is needed.
    They are computed once before the task; where inputs are augmented, with a second forward pass of the old model.

    Source: Li & Hoiem 2016 (LwF, arXiv 1606.09282).
    """

    settings: DistillationSettings

    def __init__(self, settings: DistillationSettings) -> None:
        super().__init__(settings)
        self._old: Tensor | None = None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Ask the old model about the new task's inputs."""
        asked = lesson.old and self.settings.weight and lesson.train.fixed
        self._old = lesson.scores(lesson.train) if asked else None

    def on_batch(self, lesson: Lesson, seen: Seen) -> dict[str, Tensor]:
        """Return `distillation`, from the second task on."""
        if not lesson.old or not self.settings.weight:
            return {}
        if self._old is None:
            old = lesson.teacher(seen.batch)["scores"].float()
        else:
            old = self._old[torch.from_numpy(seen.batch.indices)]
        apart = [
            F.kl_div(
                F.log_softmax(seen.scores[:, rows].float() / self.settings.temperature, dim=1),
                F.log_softmax(old[:, rows] / self.settings.temperature, dim=1).to(seen.scores.device),
                reduction="sum",
                log_target=True,
            )
            for rows in lesson.old
        ]
        return {"distillation": self.settings.weight * self.settings.temperature**2 * torch.stack(apart).sum()}
