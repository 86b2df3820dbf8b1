"""Generative replay: texts that the network writes itself stand in for those of old tasks, which are not kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from plora.generators.text_generator import Drafts, TextGenerator
from plora.generators.word_statistics import frame
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.problems import LabelledExamples
from plora.problems.text_classification import TextClassification, TokenizedTexts
from plora.results import GeneratedText, to_lines
from plora.settings import named
from plora.strategies.base import Rehearsal, Seen, Strategy
from plora.strategies.pool import Pool
from plora.strategies.settings import GenerativeReplaySettings
from plora.strategies.written_documents import EMPTY, written_documents
from plora.streams.base import Stream

CANDIDATES = 1.5
"""Texts written for each one that may be kept."""
REPEATED, TWICE, UNSURE, ENOUGH = (
    "half of its words are repeats",
    "written twice",
    "teacher unsure",
    "better ones",
)


@dataclass(frozen=True)
class TaughtTexts(Pool):
    """Texts with what the old model answered to each.

    Args:
        among: `[N, rows]` bool, the rows that the teacher chose among.
        rows: `[N]` the row that it chose.
        answers: `[N, rows]` its probabilities at the temperature of the loss, 0 in other rows.
    """

    among: Tensor
    rows: Tensor
    answers: Tensor

    def losses(self, settings: GenerativeReplaySettings, lesson: Lesson, seen: Seen) -> Mapping[str, Tensor]:
        """Return the weighted distance to the old answers."""
        scores, where = seen.scores, torch.from_numpy(seen.batch.indices)
        q = _wider(self.answers[where], scores)
        among = _wider(self.among[where], scores) | _wider(lesson.competing[self.rows[where]], scores)
        now = F.log_softmax(scores.float().masked_fill(~among, -torch.inf) / settings.temperature, dim=1)
        apart = torch.xlogy(q, q) - q * now.masked_fill(~among, 0)
        return {"apart": (settings.weight * settings.temperature**2 * apart.sum(dim=1)).sum()}


class GenerativeReplay(Strategy):
    """L = μ τ² · mean KL(softmax(z_old / τ) ‖ softmax(z / τ)) over texts that a network wrote; no old text is kept.

    Before a task, texts are written for each class of each older one, by the frozen backbone itself (`mlm`) or by a
    language model of their own (`causal`). The model as it is before the task says what they are: z_old. Texts without
    words, repetitive ones, duplicates, and those of which it is unsure are dropped, and of each class the `per_class`
    stay that it is surest of. A text stands for the class that it was written for; one written for none stands for
    the class that it is taken for.

    z_old competes among the rows that old tasks are classified among; z among those, and where classes of all tasks
    compete also among the new ones, whose target is 0: an old text is none of them.

    Documents have no classes: the model as it is writes them itself (`self`), and learns them as it learns others,

        L = μ · − Σ log p(token | tokens before) / tokens

    Source: generative replay (Shin et al. 2017, arXiv 1705.08690) with distillation (Li & Hoiem 2016, arXiv
    1606.09282); of what writes, see `MaskedGenerator`, `CausalGenerator` and `SelfGenerator`.
    """

    settings: GenerativeReplaySettings

    def __init__(self, settings: GenerativeReplaySettings) -> None:
        super().__init__(settings)
        self.generator = named(settings.generator.part, TextGenerator)(settings.generator)
        self._pool: Pool | None = None

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Let the generator load what it needs."""
        if self.settings.weight:
            self.generator.begin(model, stream, names)

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Get the generator ready, and let it write the texts that stand in for older tasks."""
        self._pool = None
        if not self.settings.weight:
            return
        self.generator.prepare(model, lesson)
        if not lesson.old:
            return
        if self.settings.generator.writes_documents:
            self._pool = written_documents(model, lesson, self.generator.write(model, lesson, self.settings.per_class))
        else:
            drafts = self.generator.write(model, lesson, math.ceil(CANDIDATES * self.settings.per_class))
            self._pool = self._chosen(model, lesson, drafts)

    def _chosen(self, model: ContinualModel, lesson: Lesson, drafts: Drafts) -> TaughtTexts | None:
        """Ask the old model what the texts are, keep the best and show all."""
        problem, texts, tasks, intended = model.problem, drafts.texts, drafts.tasks, drafts.rows
        assert isinstance(problem, TextClassification)
        assert isinstance(texts, TokenizedTexts)
        among = _among(lesson, intended)
        scores = lesson.scores(LabelledExamples(texts, intended))[:, : among.shape[1]].masked_fill(~among, -torch.inf)
        said = scores.softmax(dim=1)
        # Texts for a class stand for it, whatever they are taken for: one that is half forgotten needs them most.
        rows = torch.from_numpy(intended) if drafts.for_a_class else said.argmax(dim=1)
        sure = said.gather(1, rows[:, None]).squeeze(1)
        classes = tasks * among.shape[1] + rows.numpy()
        confidence, per_class = self.settings.confidence, self.settings.per_class
        rejected = judge(texts, classes, sure.numpy(), confidence, per_class, frame(problem))
        lesson.keep(
            f"generated/task-{lesson.position + 1:02}.jsonl",
            to_lines(
                GeneratedText(
                    task=int(tasks[i]) + 1 if drafts.for_a_class else None,
                    intended=lesson.names[intended[i]] if drafts.for_a_class else None,
                    answer=lesson.names[int(said[i].argmax())],
                    confidence=round(float(sure[i]), 4),
                    rejected=rejected[i],
                    text=problem.tokenizer.decode(
                        texts.ids[texts.starts[i] : texts.starts[i] + texts.lengths[i]], skip_special_tokens=True
                    ),
                )
                for i in range(len(texts))
            ),
        )
        kept = np.array([i for i, reason in enumerate(rejected) if reason is None], np.int64)
        lesson.tell(f"{len(kept)} of {len(texts)} texts written for older tasks are rehearsed")
        every = tasks * among.shape[1] + intended if drafts.for_a_class else among.any(dim=0).nonzero()[:, 0].numpy()
        if missing := sorted({*every.tolist()} - {*classes[kept].tolist()}):
            names = ", ".join(lesson.names[number % among.shape[1]] for number in missing[:6])
            names += f" and {len(missing) - 6} more" if len(missing) > 6 else ""
            lesson.warn(
                f"generative replay: no text of {len(missing)} old classes ({names}) was kept, so nothing rehearses "
                "them; generated/ in the run folder says why each was dropped"
            )
        if not len(kept):
            return None
        where = torch.from_numpy(kept)
        answers = (scores[where] / self.settings.temperature).softmax(dim=1)
        return TaughtTexts(
            LabelledExamples(texts.subset(kept), rows[where].numpy()), classes[kept], among[where], rows[where], answers
        )

    def rehearse(self, lesson: Lesson, at: Moment) -> list[Rehearsal]:
        """Return a draw that is balanced over the old classes, or of documents tasks; nothing in the first task."""
        pool = self._pool
        if pool is None:
            return []
        drawn = pool.draw(math.ceil(self.settings.ratio * at.examples), at.seed)
        return [Rehearsal("generated", pool.examples, drawn, partial(pool.losses, self.settings, lesson))]

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Let the generator keep what it needs of the task."""
        if self.settings.weight:
            self.generator.remember(model, lesson)

    def state(self) -> dict[str, Tensor]:
        """Return what the generator remembers."""
        return self.generator.state()

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Give the generator back what it remembers."""
        self.generator.restore(state, model)

    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return what the generator says of itself."""
        return self.generator.diagnostics()


def judge(
    texts: TokenizedTexts,
    classes: NDArray[np.int64],
    sure: NDArray[np.float32],
    confidence: float,
    per_class: int,
    frame: NDArray[np.int64],
) -> list[str | None]:
    """Return why each text is dropped, None for those that stay.

    Args:
        texts: N of them.
        classes: `[N]` what they stand for.
        sure: `[N]` how much probability the teacher gives that.
        confidence: the least that will do.
        per_class: most that stay of one class, the surest.
        frame: ids of tokens that are no words.
    """
    rejected: list[str | None] = []
    seen: set[bytes] = set()
    for start, length, p in zip(texts.starts.tolist(), texts.lengths.tolist(), sure.tolist(), strict=True):
        ids = texts.ids[start : start + length]
        if np.isin(ids, frame).all():
            rejected.append(EMPTY)
        elif 2 * len(np.unique(ids)) < length:
            rejected.append(REPEATED)
        elif ids.tobytes() in seen:
            rejected.append(TWICE)
        else:
            rejected.append(UNSURE if p < confidence else None)
        seen.add(ids.tobytes())
    stayed: dict[int, int] = {}
    for i in np.argsort(-sure, kind="stable").tolist():
        if rejected[i] is None:
            stayed[int(classes[i])] = stayed.get(int(classes[i]), 0) + 1
            rejected[i] = ENOUGH if stayed[int(classes[i])] > per_class else None
    return rejected


def _among(lesson: Lesson, rows: NDArray[np.int64]) -> Tensor:
    """Return the old rows that each of some rows competes among, `[N, old rows]` bool."""
    columns = np.arange(max(group.stop for group in lesson.old))
    groups = np.stack([(columns >= group.start) & (columns < group.stop) for group in lesson.old])
    return torch.from_numpy(groups[groups[:, rows].argmax(axis=0)])


def _wider(part: Tensor, scores: Tensor) -> Tensor:
    """Return a part on the scores' device, with 0 or False in the rows that it does not have."""
    return F.pad(part.to(scores.device), (0, scores.shape[1] - part.shape[1]))
