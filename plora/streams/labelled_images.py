"""Images with a map of classes, as splits: read when they are asked for."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Split
from plora.streams.image_reading import Pixels

IGNORED = 255
"""Of a map: a pixel that counts in nothing."""
ClassPixels = NDArray[np.uint8]
"""The class of each pixel of an image, `[H, W]`: 0 … C − 1, or IGNORED."""
_AT_ONCE = 64


@dataclass(frozen=True)
class LabelledImage:
    """An image and the class of each of its pixels.

    Args:
        image: `[H, W, 3]` or `[H, W]` uint8.
        classes: `[H, W]` uint8, 0 … C − 1 or IGNORED.
        outlier: `[H, W]` bool, which pixels show what is of no class; None where nobody says.
        inlier: `[H, W]` bool, which do not, where some of them are of no known class; None: those that have a class.

    Raises:
        DataError: they are not of one size, or an outlier has a class.
    """

    image: Pixels
    classes: ClassPixels
    outlier: NDArray[np.bool_] | None = None
    inlier: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for part in (self.classes, self.outlier, self.inlier):
            if part is not None and part.shape != self.image.shape[:2]:
                raise DataError(
                    f"the image has {_size(self.image)} pixels, and its map {_size(part)}; expected one for each pixel"
                )
        if self.outlier is not None and bool((self.outlier & (self.classes != IGNORED)).any()):
            raise DataError("pixels are outliers and have a class; an outlier's class is IGNORED")

    def inliers(self) -> NDArray[np.bool_]:
        """Return which pixels an outlier score counts as inliers, `[H, W]`."""
        return self.classes != IGNORED if self.inlier is None else self.inlier


def _size(pixels: NDArray[np.generic]) -> str:
    height, width = pixels.shape[:2]
    return f"{width} × {height}"


class LabelledImages(Split):
    """Images with a map of classes each; a source says how one is read.

    Attributes:
        class_names: of the C classes, the same in all splits of a task. An outlier is none of them.
    """

    labels = None
    several = True
    class_names: tuple[str, ...]

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some images with their maps; their sizes may differ."""

    def name(self, index: int) -> str:
        """Return what to call an image in a message: its file, its table and row, or its place."""
        return f"image {index + 1} of a split"

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of all pixels and maps, in their order; some images are in memory at once."""
        digest = hashlib.sha256("\0".join(self.class_names).encode())
        for start in range(0, len(self), _AT_ONCE):
            for one in self.read(np.arange(start, min(start + _AT_ONCE, len(self)))):
                for part in (one.image, one.classes, one.outlier, one.inlier):
                    digest.update(b"none;" if part is None else f"{part.shape};".encode())
                    digest.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class LabelledImageArray(LabelledImages):
    """Images and maps in memory.

    Args:
        images: N of `[H, W, 3]` or `[H, W]` uint8 each; their sizes may differ.
        maps: N of `[H, W]` uint8.
        class_names: of the C classes.
        outliers, inliers: N of `[H, W]` bool, or None, as `LabelledImage` has them; None: of all images.

    Raises:
        DataError: there are not as many of one as of the other, or one is of another size.
    """

    images: Sequence[Pixels]
    maps: Sequence[ClassPixels]
    class_names: tuple[str, ...]
    outliers: Sequence[NDArray[np.bool_] | None] | None = None
    inliers: Sequence[NDArray[np.bool_] | None] | None = None

    def __post_init__(self) -> None:
        lengths = {len(part) for part in (self.images, self.maps, self.outliers, self.inliers) if part is not None}
        if len(lengths) > 1:
            raise DataError(f"{len(self.images)} images have {len(self.maps)} maps; expected one for each")
        self.read(np.arange(len(self)))

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of the images."""
        return [
            LabelledImage(
                self.images[at],
                self.maps[at],
                None if self.outliers is None else self.outliers[at],
                None if self.inliers is None else self.inliers[at],
            )
            for at in indices.tolist()
        ]

    def identities(self) -> Sequence[bytes]:
        """Return the pixels."""
        return [np.ascontiguousarray(image).tobytes() for image in self.images]


@dataclass(frozen=True)
class JoinedLabelledImages(LabelledImages):
    """Images of several splits, one after the other.

    Args:
        parts: with the same classes.
    """

    parts: tuple[LabelledImages, ...]

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # follows from the parts
        """Of the parts."""
        return self.parts[0].class_names

    @property
    def slow(self) -> bool:  # type: ignore[override]  # follows from the parts
        """Whether one of the parts is."""
        return any(part.slow for part in self.parts)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of the images."""
        return [part.read(np.array([place]))[0] for part, place in map(self._place, indices.tolist())]

    def name(self, index: int) -> str:
        """Return what its part calls an image."""
        part, place = self._place(index)
        return part.name(place)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of those of the parts."""
        return hashlib.sha256("".join(part.fingerprint() for part in self.parts).encode()).hexdigest()

    def identities(self) -> Sequence[object] | None:
        """Return those of the parts; None where one has none."""
        return list(self._identities()) if all(part.identities() is not None for part in self.parts) else None

    def _identities(self) -> Iterator[object]:
        for part in self.parts:
            yield from part.identities() or ()

    def _place(self, index: int) -> tuple[LabelledImages, int]:
        for part in self.parts:
            if index < len(part):
                return part, index
            index -= len(part)
        raise IndexError(index)
