"""A stranger: words that a class used, in any order, stand in for its texts; it lives outside of plora."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from plora.generators.settings import GeneratorSettings
from plora.generators.text_generator import Drafts, TextGenerator
from plora.generators.word_statistics import WordStatistics
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.streams.base import Stream


class WordsSettings(GeneratorSettings):
    """Of `Words`."""

    part = "words_generator:Words"

    kind: Literal["words_generator:WordsSettings"] = "words_generator:WordsSettings"
    share: float = Field(default=1.0, gt=0)
    """Texts written for each one that is asked for."""


class Words(TextGenerator):
    """Texts of the layouts of a class, of words drawn by their counts."""

    settings: WordsSettings

    def __init__(self, settings: WordsSettings) -> None:
        super().__init__(settings)
        self._counts: WordStatistics | None = None

    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Nothing is loaded."""

    def prepare(self, model: ContinualModel, lesson: Lesson) -> None:
        """Nothing is fitted."""

    def write(self, model: ContinualModel, lesson: Lesson, count: int) -> Drafts:
        """Return texts for each class of each older task."""
        assert self._counts is not None
        assert isinstance(model.problem, TextClassification)
        rng = np.random.default_rng(lesson.seed)
        texts, sources = self._counts.seeds(model.problem, max(1, round(self.settings.share * count)), rng)
        tasks, rows = self._counts.sources[sources].T
        return Drafts(texts, tasks, rows)

    def remember(self, model: ContinualModel, lesson: Lesson) -> None:
        """Count words and lengths."""
        assert isinstance(model.problem, TextClassification)
        self._counts = WordStatistics.of(self._counts, model.problem, lesson.train, lesson.position)

    def state(self) -> dict[str, Tensor]:
        """Return the counts."""
        return {} if self._counts is None else self._counts.state()

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take counts back."""
        assert isinstance(model.problem, TextClassification)
        self._counts = WordStatistics.restored(state, model.problem) if state else None
