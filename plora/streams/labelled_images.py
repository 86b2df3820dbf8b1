"""Images with a class for every pixel: what a split of a task of segmentation holds."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Split
from plora.streams.image_reading import Pixels

IGNORED = 255
"""Class of a pixel that counts in nothing."""


@dataclass(frozen=True)
class LabelledImage:
    """An image, and which class each of its pixels has.

    Args:
        image: `[H, W, 3]` or `[H, W]` uint8.
        classes: `[H, W]` uint8, 0 … C − 1 or IGNORED.
    """

    image: Pixels
    classes: NDArray[np.uint8]


class LabelledImages(Split):
    """Images with a map of classes each.

    Attributes:
        class_names: of the C classes, the same in all splits of a task.
    """

    labels = None
    class_names: tuple[str, ...]

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some images with their maps; their sizes may differ."""

    def name(self, index: int) -> str:
        """Return what to call an image in a message."""
        return f"image {index + 1} of a split"

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of all pixels, maps and names of classes, in their order."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for index in range(len(self)):
            (one,) = self.read(np.array([index]))
            digest.update(f"{one.image.shape};".encode())
            digest.update(np.ascontiguousarray(one.image).tobytes())
            digest.update(np.ascontiguousarray(one.classes).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class LabelledImageArray(LabelledImages):
    """Images and maps in memory.

    Args:
        images: N of them, `[H, W]` or `[H, W, 3]` uint8.
        maps: N of them, `[H, W]` uint8.
        class_names: of the C classes.
    """

    images: Sequence[Pixels]
    maps: Sequence[NDArray[np.uint8]]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of them."""
        return [LabelledImage(self.images[index], self.maps[index]) for index in indices.tolist()]
