"""Generative replay: texts that the network writes itself stand in for those of old tasks, which are not kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr
from torch import Tensor

from plora.model import ContinualModel
from plora.problems.text_classification import TokenizedTexts
from plora.results import GeneratedText, to_lines
from plora.strategies.base import SHARES_NOTHING, Lesson, Progress, Rehearsal, Strategy
from plora.strategies.masked_language import MaskedLanguage, of_texts
from plora.strategies.word_statistics import WordStatistics

CANDIDATES = 1.5
"""Texts written for each one that may be kept."""
REPEATED, TWICE, UNSURE, ENOUGH = "half of its words are repeats", "written twice", "teacher unsure", "better ones"
_STATISTICS, _SUMS = "statistics/", "sums/"


@dataclass(frozen=True)
class Seeds:
    """What texts begin as.

    Args:
        texts: N of them.
        sources: `[N]` which class, or which group of rows, each is for.
        classes: `[S, 2]` task (from 0) and row of those; of a group 0 and its first row.
        leanings: `[S, K]` what is added to the scores of words for each.
    """

    texts: TokenizedTexts
    sources: NDArray[np.int64]
    classes: NDArray[np.int64]
    leanings: Tensor


@dataclass(frozen=True)
class Pool:
    """The texts that are rehearsed while one task is learned.

    Args:
        inputs: N texts.
        classes: `[N]` which belong together: one number per task and row.
        among: `[N, rows]` bool, the rows that the teacher chose among.
        rows: `[N]` the row that it chose.
        answers: `[N, rows]` its probabilities at the temperature of the loss, 0 in other rows.
    """

    inputs: TokenizedTexts
    classes: NDArray[np.int64]
    among: Tensor
    rows: Tensor
    answers: Tensor

    def draw(self, count: int, seed: int) -> NDArray[np.int64]:
        """Return `count` positions, each class equally likely."""
        _, which, sizes = np.unique(self.classes, return_inverse=True, return_counts=True)
        share = 1 / (len(sizes) * sizes[which])
        return np.random.default_rng(seed).choice(len(self.classes), count, p=share / share.sum())


class GenerativeReplay(Strategy):
    """L = μ τ² · mean KL(softmax(z_old / τ) ‖ softmax(z / τ)) over texts that the network wrote; no old text is kept.

    Before a task, texts are written for each class of each older one. They begin as words drawn by how often the class
    used them (with `seeds: current` as texts of the new task, for no class in particular); then the bare frozen
    network, all adapters off, rewrites them as a masked language model, sweep by
    sweep. The model as it is before the task says what they are: z_old. Repetitive texts, duplicates, and those of
    which it is unsure are dropped, and of each class the `per_class` stay that it is surest of. A text stands for the
    class that it was written for; one written for none stands for the class that it is taken for.

    z_old competes among the rows that old tasks are classified among; z among those, and where classes of all tasks
    compete also among the new ones, whose target is 0: an old text is none of them.

    Remembered are word counts and lengths of each old class (they are the training data's, and can name its words; not
    with `seeds: current`), and sums for the head that fills masks, where the network brings none. Method `mlm_replay`
    of this project; its parts are the masked language model as a Gibbs sampler (Wang & Cho 2019, arXiv 1902.04094),
    generative replay (Shin et al. 2017, arXiv 1705.08690) and distillation (Li & Hoiem 2016, arXiv 1606.09282).
    """

    kind: Literal["generative_replay"] = "generative_replay"
    generator: Literal["mlm"] = "mlm"
    """What writes: the frozen backbone as a masked language model."""
    seeds: Literal["statistics", "current"] = "statistics"
    """What texts begin as: words drawn by the remembered counts of a class, or texts of the new task."""
    weight: float = Field(default=1.0, ge=0)
    """μ."""
    temperature: float = Field(default=2.0, gt=0)
    """τ; above 1 the unlikely answers count more."""
    ratio: float = Field(default=1.0, gt=0)
    """Texts rehearsed in each step, as a share of the batch."""
    per_class: int = Field(default=50, ge=1)
    """Most texts kept for each class of each old task."""
    sweeps: int = Field(default=3, ge=0)
    """How often words are masked and filled again; 0 leaves them as drawn."""
    confidence: float = Field(default=0.0, ge=0, le=1)
    """A text stays when the old model gives the class that it stands for at least so much probability; of those, the
    surest per class."""

    _language: MaskedLanguage = PrivateAttr(default_factory=lambda: MaskedLanguage({}))
    _statistics: WordStatistics | None = PrivateAttr(default=None)
    _pool: Pool | None = PrivateAttr(default=None)

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse tasks that share nothing, and a network that does not stay as it was below its slots."""
        if slots == "none":
            return "it protects the slots that tasks share, and there are none"
        return SHARES_NOTHING if isolated else None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Fit what fills masks, and write the texts that stand in for older tasks."""
        self._pool = None
        if not self.weight:
            return
        self._language.learn(model, lesson)
        found, least = self._language.accuracy, self._language.baseline
        lesson.tell(f"of masked words of this task {found:.1%} are filled right; {least:.1%} by the commonest word")
        if found <= least:
            lesson.warn(
                "generative replay: the network fills masks no better than the commonest word does, so what it writes "
                "are words in no order; a backbone that was trained with masked words (backbone.id) does better"
            )
        if lesson.old:
            self._pool = self._write(model, lesson)

    def _seeds(self, model: ContinualModel, lesson: Lesson) -> Seeds:
        """Return what the texts begin as."""
        assert self._language.head is not None
        vocabulary, rng = self._language.head.vocabulary, np.random.default_rng(lesson.seed)
        count = math.ceil(CANDIDATES * self.per_class)
        if self.seeds == "statistics":
            assert self._statistics is not None, "an older task was remembered"
            texts, sources = self._statistics.seeds(of_texts(model), count, rng)
            return Seeds(texts, sources, self._statistics.sources, self._statistics.leanings(vocabulary))
        current = lesson.train.inputs
        assert isinstance(current, TokenizedTexts)
        sources = np.repeat(np.arange(len(lesson.old)), [count * (group.stop - group.start) for group in lesson.old])
        drawn = rng.choice(len(current), len(sources), replace=len(sources) > len(current))
        groups = np.array([[0, group.start] for group in lesson.old])
        return Seeds(current.subset(drawn), sources, groups, torch.zeros(len(groups), len(vocabulary)))

    def _write(self, model: ContinualModel, lesson: Lesson) -> Pool | None:
        """Write texts, ask the old model what they are, keep the best and show all."""
        problem, seeds, for_a_class = of_texts(model), self._seeds(model, lesson), self.seeds == "statistics"
        texts = self._language.rewrite(model, lesson, seeds.texts, seeds.leanings, seeds.sources, self.sweeps)
        tasks, intended = seeds.classes[seeds.sources].T
        among = _among(lesson, intended)
        scores = lesson.scores(texts)[:, : among.shape[1]].masked_fill(~among, -torch.inf)
        said = scores.softmax(dim=1)
        # Texts for a class stand for it, whatever they are taken for: one that is half forgotten needs them most.
        rows = torch.from_numpy(intended) if for_a_class else said.argmax(dim=1)
        sure = said.gather(1, rows[:, None]).squeeze(1)
        classes = tasks * among.shape[1] + rows.numpy()
        rejected = judge(texts, classes, sure.numpy(), self.confidence, self.per_class)
        lesson.keep(
            f"generated/task-{lesson.position + 1:02}.jsonl",
            to_lines(
                GeneratedText(
                    task=int(tasks[i]) + 1 if for_a_class else None,
                    intended=lesson.names[intended[i]] if for_a_class else None,
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
        every = tasks * among.shape[1] + intended if for_a_class else among.any(dim=0).nonzero()[:, 0].numpy()
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
        answers = (scores[where] / self.temperature).softmax(dim=1)
        return Pool(texts.subset(kept), classes[kept], among[where], rows[where], answers)

    def rehearse(self, lesson: Lesson, progress: Progress) -> list[Rehearsal]:
        """Return a draw that is balanced over the old classes; nothing in the first task."""
        pool = self._pool
        if pool is None:
            return []

        def loss(scores: Tensor, positions: NDArray[np.int64]) -> Tensor:
            where = torch.from_numpy(positions)
            q = _wider(pool.answers[where], scores)
            among = _wider(pool.among[where], scores) | _wider(lesson.competing[pool.rows[where]], scores)
            now = F.log_softmax(scores.float().masked_fill(~among, -torch.inf) / self.temperature, dim=1)
            apart = torch.xlogy(q, q) - q * now.masked_fill(~among, 0)
            return self.weight * self.temperature**2 * apart.sum(dim=1)

        drawn = pool.draw(math.ceil(self.ratio * progress.examples), progress.seed)
        return [Rehearsal("generated", pool.inputs, drawn, loss)]

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Count words and lengths of each class."""
        if self.weight and self.seeds == "statistics":
            self._statistics = WordStatistics.of(self._statistics, of_texts(model), lesson.train, lesson.position)

    def state(self) -> dict[str, Tensor]:
        """Return statistics and sums."""
        statistics = {} if self._statistics is None else self._statistics.state()
        found = {f"{_STATISTICS}{name}": tensor for name, tensor in statistics.items()}
        return found | {f"{_SUMS}{name}": tensor for name, tensor in self._language.state().items()}

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take statistics and sums back."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}

        self._language = MaskedLanguage.restored(part(_SUMS), model)
        statistics = part(_STATISTICS)
        self._statistics = WordStatistics.restored(statistics, of_texts(model)) if statistics else None

    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return how often the task's masked words are filled right, and how often by the commonest word."""
        if self._language.head is None:
            return {}
        return {"masked_words_right": self._language.accuracy, "commonest_word_right": self._language.baseline}


def judge(
    texts: TokenizedTexts,
    classes: NDArray[np.int64],
    sure: NDArray[np.float32],
    confidence: float,
    per_class: int,
) -> list[str | None]:
    """Return why each text is dropped, None for those that stay.

    Args:
        texts: N of them.
        classes: `[N]` what they stand for.
        sure: `[N]` how much probability the teacher gives that.
        confidence: the least that will do.
        per_class: most that stay of one class, the surest.
    """
    rejected: list[str | None] = []
    seen: set[bytes] = set()
    for start, length, p in zip(texts.starts.tolist(), texts.lengths.tolist(), sure.tolist(), strict=True):
        ids = texts.ids[start : start + length]
        if 2 * len(np.unique(ids)) < length:
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
