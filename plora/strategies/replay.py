"""Experience replay: old examples, trained on again (ER), and held to their old scores (DER++)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies.base import Rehearsal, Seen, Strategy
from plora.strategies.buffer import Buffer
from plora.strategies.settings import ReplaySettings


class Replay(Strategy):
    """L = β · loss(x'', y'') + α · mean_k (z_k(x') − z'_k)², x' and x'' drawn by themselves from the buffer.

    The loss is the problem's own: the mean cross-entropy where it classifies. ER is α = 0. A draw has as many examples
    as the batch. k goes over the rows among which x' was classified when it came into the buffer, z' are its scores
    then.

    The buffer is a uniform sample of all training examples of the tasks learned; a task's examples come in when it is
    over, with the scores of the model that learned it. Mammoth fills its buffer while a task is learned, so that its
    scores are those of half-learned tasks, and an example of several epochs may be kept several times.

    Source: Chaudhry et al. 2019 (ER, arXiv 1902.10486); Buzzega et al. 2020 (DER++, arXiv 2004.07211).
    """

    settings: ReplaySettings

    def __init__(self, settings: ReplaySettings) -> None:
        super().__init__(settings)
        self._buffer: Buffer | None = None

    def rehearse(self, lesson: Lesson, at: Moment) -> list[Rehearsal]:
        """Return a draw for each term whose weight is above 0; nothing in the first task."""
        buffer = self._buffer
        if buffer is None:
            return []
        found = []
        # Two seeds of one sequence: the two draws must not be the same examples.
        first, second = np.random.SeedSequence([at.seed, 0]).generate_state(2).tolist()
        count = at.examples

        def losses(seen: Seen) -> dict[str, Tensor]:
            return {name: self.settings.weight * loss for name, loss in lesson.losses(seen.outputs, seen.batch).items()}

        def distance(seen: Seen) -> dict[str, Tensor]:
            old = buffer.scores[torch.from_numpy(seen.batch.indices)].to(seen.scores.device)
            known = ~old.isnan()
            apart = (seen.scores[:, : old.shape[1]] - old.nan_to_num()) * known
            return {"distance": (self.settings.scores_weight * apart.square().sum(1) / known.sum(1)).sum()}

        if self.settings.weight:
            found.append(Rehearsal("replay", buffer.examples, buffer.draw(count, first), losses))
        if self.settings.scores_weight:
            found.append(Rehearsal("replayed_scores", buffer.examples, buffer.draw(count, second), distance))
        return found

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Offer every training example of the task to the buffer."""
        scores = torch.empty(len(lesson.train), 0)
        if self.settings.scores_weight or model.problem.classifies:
            classified = lesson.competing[torch.from_numpy(lesson.train.rows)]
            scores = lesson.scores(lesson.train).masked_fill(~classified, torch.nan)
        self._buffer = Buffer.offered(self._buffer, lesson.train, scores, self.settings.capacity, lesson.seed)

    def state(self) -> dict[str, Tensor]:
        """Return the buffer."""
        return {} if self._buffer is None else self._buffer.state()

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take a buffer back."""
        self._buffer = Buffer.restored(state, model) if state else None
