"""Learning without forgetting: the new task's inputs keep the answers that the old model gave."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.strategies.background_shift import behind_the_background
from plora.strategies.base import Seen, Strategy
from plora.strategies.settings import DistillationSettings
from plora.streams.base import Stream


class Distillation(Strategy):
    """L = μ τ² Σ_groups KL(softmax(z_old / τ) ‖ softmax(z / τ)), mean over the batch.

    A group is a set of rows that old tasks are classified among: each old task's own rows, or all old rows. z_old are
    the scores of the model as it was before the task, for the task's own training inputs: no old example is needed.
    They are computed once before the task; where inputs are augmented, with a second forward pass of the old model.

    Where each part of an input has a class, a pixel or a word, it is the mean over these; and where one class is the
    background, what was of it may be of a new class: see `behind_the_background`.

    Source: Li & Hoiem 2016 (LwF, arXiv 1606.09282).
    """

    settings: DistillationSettings

    def __init__(self, settings: DistillationSettings) -> None:
        super().__init__(settings)
        self._old: Tensor | None = None
        self._parts: Callable[[Mapping[str, Tensor], int], Tensor] | None = None

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """See whether what is of no class so far is of one that stands for it."""
        self._parts = model.problem.dense_logits if stream.tasks[0].train.background else None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Ask the old model about the new task's inputs."""
        asked = lesson.old and self.settings.weight and lesson.train.fixed and model.problem.classifies
        self._old = lesson.scores(lesson.train) if asked else None

    def on_batch(self, lesson: Lesson, seen: Seen) -> dict[str, Tensor]:
        """Return `distillation`, from the second task on."""
        if not lesson.old or not self.settings.weight:
            return {}
        if self._parts is not None:
            before = self._parts(lesson.teacher(seen.batch), lesson.old[-1].stop)
            now = self._parts(seen.outputs, len(lesson.competing))
            apart = behind_the_background(before, now, self.settings.temperature)
            return {"distillation": self.settings.weight * self.settings.temperature**2 * apart}
        if self._old is None:
            old = lesson.teacher(seen.batch)["scores"].float()
        else:
            old = self._old[torch.from_numpy(seen.batch.indices)]
        groups = [
            F.kl_div(
                F.log_softmax(seen.scores[:, rows].float() / self.settings.temperature, dim=1),
                F.log_softmax(old[:, rows] / self.settings.temperature, dim=1).to(seen.scores.device),
                reduction="sum",
                log_target=True,
            )
            for rows in lesson.old
        ]
        return {"distillation": self.settings.weight * self.settings.temperature**2 * torch.stack(groups).sum()}
