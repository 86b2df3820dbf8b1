"""Some images of a split, whose maps say what one step of a stream says of their classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plora.streams.labelled_images import IGNORED, ClassPixels, LabelledImage, LabelledImages


@dataclass(frozen=True)
class StepImages(LabelledImages):
    """Some images of a split under other classes.

    Args:
        images: those images are among these.
        chosen: `[N]` which of them.
        meaning: of each of their classes the class here, or IGNORED.
        class_names: of the classes here.
    """

    images: LabelledImages
    chosen: NDArray[np.int64]
    meaning: tuple[int, ...]
    class_names: tuple[str, ...]

    @property
    def slow(self) -> bool:  # type: ignore[override]  # follows from the images
        """Whether the images are."""
        return self.images.slow

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of the images with their maps."""
        found = self.images.read(self.chosen[indices])
        return [replace(one, classes=self._table[one.classes]) for one in found]

    def name(self, index: int) -> str:
        """Return what its split calls an image."""
        return self.images.name(int(self.chosen[index]))

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the split, of which images are chosen and of what their classes mean."""
        digest = hashlib.sha256(self.images.fingerprint().encode())
        digest.update(self.chosen.tobytes() + bytes(self.meaning) + "\0".join(self.class_names).encode())
        return digest.hexdigest()

    def identities(self) -> Sequence[object] | None:
        """Return those of the chosen images."""
        every = self.images.identities()
        return None if every is None else [every[index] for index in self.chosen.tolist()]

    @cached_property
    def _table(self) -> ClassPixels:
        """What each number of a map means, `[256]`; one that is no class of the split stays what it is."""
        table = np.arange(IGNORED + 1, dtype=np.uint8)
        table[: len(self.meaning)] = self.meaning
        return table
