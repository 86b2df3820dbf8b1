"""Texts written by the frozen backbone itself, as a masked language model."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from plora.generators.masked_language import MaskedLanguage, of_texts
from plora.generators.settings import MaskedGeneratorSettings
from plora.generators.text_generator import Drafts, TextGenerator
from plora.generators.word_statistics import WordStatistics
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems.text_classification import texts_of
from plora.streams.base import Stream

_STATISTICS, _SUMS = "statistics/", "sums/"


class MaskedGenerator(TextGenerator):
    """Words drawn by how often a class used them, rewritten sweep by sweep by the bare network, all adapters off.

    With `seeds: current` texts of the new task are rewritten, for no class in particular. The masked language model is
    the network's own where its checkpoint has a head for it; otherwise a head is solved.

    Remembered are word counts and lengths of each old class (they are the training data's, and can name its words; not
    with `seeds: current`), and sums for the solved head. Method `mlm_replay` of this project; the masked language model
    as a Gibbs sampler is Wang & Cho 2019 (arXiv 1902.04094).
    """

    settings: MaskedGeneratorSettings

    def __init__(self, settings: MaskedGeneratorSettings) -> None:
        super().__init__(settings)
        self._language: MaskedLanguage = MaskedLanguage({})
        self._statistics: WordStatistics | None = None

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Refuse a backbone that has no mask token."""
        of_texts(model)

    def prepare(self, model: ContinualModel, lesson: Lesson) -> None:
        """Fit what fills masks, and say how well it does."""
        self._language.learn(model, lesson)
        found, least = self._language.accuracy, self._language.baseline
        lesson.tell(f"of masked words of this task {found:.1%} are filled right; {least:.1%} by the commonest word")
        if found <= least:
            lesson.warn(
                "generative replay: the network fills masks no better than the commonest word does, so what it writes "
                "are words in no order; a backbone that was trained with masked words (backbone.id) does better"
            )

    def write(self, model: ContinualModel, lesson: Lesson, count: int) -> Drafts:
        """Return texts for each old class, or with `seeds: current` as many for the groups of rows they compete in."""
        assert self._language.head is not None
        vocabulary, rng = self._language.head.vocabulary, np.random.default_rng(lesson.seed)
        if self.settings.seeds == "statistics":
            assert self._statistics is not None, "an older task was remembered"
            texts, sources = self._statistics.seeds(of_texts(model), count, rng)
            classes, leanings = self._statistics.sources, self._statistics.leanings(vocabulary)
        else:
            current = texts_of(lesson.train)
            sizes = [count * (group.stop - group.start) for group in lesson.old]
            sources = np.repeat(np.arange(len(lesson.old)), sizes)
            texts = current.subset(rng.choice(len(current), len(sources), replace=len(sources) > len(current)))
            classes = np.array([[0, group.start] for group in lesson.old])
            leanings = torch.zeros(len(classes), len(vocabulary))
        texts = self._language.rewrite(model, lesson, texts, leanings, sources, self.settings.sweeps)
        tasks, rows = classes[sources].T
        return Drafts(texts, tasks, rows, self.settings.seeds == "statistics")

    def remember(self, model: ContinualModel, lesson: Lesson) -> None:
        """Count words and lengths of each class."""
        if self.settings.seeds == "statistics":
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

    def diagnostics(self) -> dict[str, float]:
        """Return how often the task's masked words are filled right, and how often by the commonest word."""
        if self._language.head is None:
            return {}
        return {"masked_words_right": self._language.accuracy, "commonest_word_right": self._language.baseline}
