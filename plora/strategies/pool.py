"""Texts that were written to stand in for old ones, as they are rehearsed while one task is learned."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plora.lesson import Lesson
from plora.problems import Examples
from plora.strategies.base import Seen
from plora.strategies.settings import GenerativeReplaySettings


@dataclass(frozen=True)
class Pool(ABC):
    """N texts, and what they are learned for.

    Args:
        examples: N texts.
        classes: `[N]` which belong together: a number for each class of each task, or of documents for each task.
    """

    examples: Examples
    classes: NDArray[np.int64]

    def draw(self, count: int, seed: int) -> NDArray[np.int64]:
        """Return `count` positions, each class equally likely."""
        _, which, sizes = np.unique(self.classes, return_inverse=True, return_counts=True)
        share = 1 / (len(sizes) * sizes[which])
        return np.random.default_rng(seed).choice(len(self.classes), count, p=share / share.sum())

    @abstractmethod
    def losses(self, settings: GenerativeReplaySettings, lesson: Lesson, seen: Seen) -> Mapping[str, Tensor]:
        """Return the weighted losses of some of them; see `Rehearsal.losses`."""
