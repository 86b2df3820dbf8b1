"""Handwritten digits: 1,797 real images of 8 × 8 pixels that scikit-learn ships, so that nothing is downloaded."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plora.streams.base import Stream, StreamSource, Task
from plora.streams.images import ImageArray

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_HIGHEST = 16
"""Of a pixel in scikit-learn's copy."""


class Digits(StreamSource):
    """Handwritten digits in tasks of a few classes each, or the part held back from them to pretrain on.

    Which images are held back, and which are for validation and test, is decided by the order in scikit-learn's copy:
    its writers stand one after the other, so that parts are of different hands.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), the test part, as in
    `sklearn.datasets.load_digits`.
    """

    kind: Literal["digits"] = "digits"

    part: Literal["stream", "pretraining"] = "stream"
    """The images that are learned from, or those that were held back to pretrain a backbone on."""
    held_back: float = Field(default=0.3, gt=0, lt=1)
    """Share of the images that is held back, the first ones."""
    per_task: int = Field(default=2, ge=2, le=10)
    """Classes of each task, in the order of the digits; of `part: pretraining` all are in one task."""
    validation_fraction: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of a part's images for validation."""
    test_fraction: float = Field(default=0.35, gt=0, lt=0.5)
    """Share of a part's images for test."""

    def load(self) -> Stream:
        """Read the images and cut them into tasks and splits."""
        from sklearn.datasets import load_digits

        found = load_digits()
        pixels = np.round(found.images * (255 / _HIGHEST)).astype(np.uint8)
        labels = found.target.astype(np.int64)
        border = round(len(labels) * self.held_back)
        mine = slice(0, border) if self.part == "pretraining" else slice(border, None)
        pixels, labels = pixels[mine], labels[mine]
        size = len(NAMES) if self.part == "pretraining" else self.per_task
        groups = [range(start, min(start + size, len(NAMES))) for start in range(0, len(NAMES), size)]
        tasks = tuple(self._task(pixels, labels, group) for group in groups if len(group) > 1)
        return Stream("digits", tasks, ("task", "class"), {"digits": "sklearn.datasets.load_digits"})

    def _task(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[int]) -> Task:
        """The images of some classes; of each class the last are for test, those before them for validation."""
        chosen: list[list[NDArray[np.int64]]] = [[], [], []]
        for label in classes:
            own = np.flatnonzero(labels == label)
            test, validation = (round(len(own) * share) for share in (self.test_fraction, self.validation_fraction))
            parts = np.split(own, [len(own) - test - validation, len(own) - test])
            for of_split, part in zip(chosen, parts, strict=True):
                of_split.append(part)
        splits = [np.sort(np.concatenate(parts)) for parts in chosen]
        train, checked, scored = (ImageArray(pixels[part], labels[part] - classes[0]) for part in splits)
        names = tuple(NAMES[label] for label in classes)
        return Task("-".join((names[0], names[-1])), names, train, checked, scored)
