"""Images as splits: read when they are asked for."""

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Split
from plora.streams.image_reading import ImageReading
from plora.streams.image_reading import Pixels as Pixels

READING = ImageReading()
"""How images are read where nothing else is said."""
_AT_ONCE = 256


class Images(Split):
    """Images with one class each; a source says how one is read."""

    labels: NDArray[np.int64]

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Return some images; their sizes may differ."""

    def name(self, index: int) -> str:
        """Return what to call an image in a message: its file, its table and row, or its place."""
        return f"image {index + 1} of a split"

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of all pixels and labels, in their order; some images are in memory at once."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _AT_ONCE):
            some = np.arange(start, min(start + _AT_ONCE, len(self)))
            for image, label in zip(self.read(some), self.labels[some].tolist(), strict=True):
                digest.update(f"{image.shape} {label};".encode())
                digest.update(np.ascontiguousarray(image).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class ImageArray(Images):
    """Images of one size in memory.

    Args:
        pixels: `[N, H, W]` or `[N, H, W, C]` uint8.
        labels: `[N]` int64.
    """

    pixels: Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Return some of the images."""
        return [self.pixels[index] for index in indices.tolist()]

    def identities(self) -> Sequence[bytes]:
        """Return the pixels."""
        return [image.tobytes() for image in self.pixels]


@dataclass(frozen=True)
class ImageFiles(Images):
    """Images in files of their own, of any kind that Pillow reads.

    Args:
        paths: N files.
        labels: `[N]` int64.
        reading: how they are decoded.
    """

    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    reading: ImageReading = READING
    slow = True

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Return some of the images: grey ones `[H, W]`, others as red, green and blue.

        Raises:
            DataError: a file is no image, is damaged or too large; names it.
        """
        return [self.reading.pixels(self.paths[index], self.name(index)) for index in indices.tolist()]

    def name(self, index: int) -> str:
        """Return the file of an image."""
        return str(self.paths[index])
