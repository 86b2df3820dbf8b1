"""What writes texts that stand in for those of old tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plora.generators.settings import GeneratorSettings
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems.encoded_documents import EncodedDocuments
from plora.problems.text_classification import TokenizedTexts
from plora.streams.base import Stream


@dataclass(frozen=True)
class Drafts:
    """Texts as they were written, before anyone said what they are.

    Args:
        texts: N of them; documents, where the problem has no classes.
        tasks: `[N]` position of the task that each was written for, from 0.
        rows: `[N]` the row of the head that it was written for; of a text for no class, the first row of its group.
            `[0]` of documents.
        for_a_class: whether each was written for a class, or a document for one task; otherwise all were written for
            groups of rows, or for all older tasks.
    """

    texts: TokenizedTexts | EncodedDocuments
    tasks: NDArray[np.int64]
    rows: NDArray[np.int64]
    for_a_class: bool = True


class TextGenerator(ABC):
    """Made with its settings; what it remembers are attributes of its own."""

    settings: GeneratorSettings

    def __init__(self, settings: GeneratorSettings) -> None:
        self.settings = settings

    @abstractmethod
    def begin(self, model: ContinualModel, stream: Stream, names: tuple[str, ...]) -> None:
        """Load what writes, and refuse what it cannot write; see `Strategy.begin`."""

    @abstractmethod
    def prepare(self, model: ContinualModel, lesson: Lesson) -> None:
        """Get ready for a task: fit what writes."""

    @abstractmethod
    def write(self, model: ContinualModel, lesson: Lesson, count: int) -> Drafts:
        """Return `count` texts for each class of each older task, or of documents for each older task."""

    @abstractmethod
    def remember(self, model: ContinualModel, lesson: Lesson) -> None:
        """Keep what is needed to write texts like those of the task that was just learned."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what it remembers, by name."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Remember what `state` returned.

        Raises:
            RunError: a tensor is missing or does not fit.
        """

    def diagnostics(self) -> dict[str, float]:
        """Return numbers that say how well it writes."""
        return {}
