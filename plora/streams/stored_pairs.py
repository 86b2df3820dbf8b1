"""Images and masks that stand in files or in a table, as a split: decoded when they are read."""

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.class_map import ClassMap
from plora.streams.image_column import ImageColumn
from plora.streams.image_reading import DamagedImageError, ImageReading
from plora.streams.labelled_images import IGNORED, LabelledImage, LabelledImages
from plora.streams.map_reading import map_ids

_AT_ONCE = 1024
"""Pairs that are checked before more are looked at."""
_HASH = 32


class UnlikePairError(DamagedImageError):
    """An image and its mask are of two sizes."""


@dataclass(frozen=True)
class CheckedPair:
    """What was found when an image and its mask were decoded.

    Args:
        unusable: why they cannot be used; empty where they can.
        unknown: pixels of ids that mean nothing, by id.
        pixels: `[C]` of each class.
        judged: pixels that are outliers, or inliers beside outliers.
    """

    unusable: str
    unknown: Counter[int]
    pixels: NDArray[np.int64]
    judged: int


@dataclass(frozen=True)
class StoredPairs(LabelledImages):
    """Some pairs of two columns.

    Args:
        images, masks: of N' pairs.
        rows: `[N]` which of them.
        digests: `[N, 64]` uint8, the sha256 of the bytes of each image, and of its mask.
        classes: what the masks mean.
        reading: how images are decoded.
    """

    images: ImageColumn
    masks: ImageColumn
    rows: NDArray[np.int64]
    digests: NDArray[np.uint8]
    classes: ClassMap
    reading: ImageReading
    slow = True

    @classmethod
    def of(
        cls,
        images: ImageColumn,
        masks: ImageColumn,
        rows: NDArray[np.int64],
        classes: ClassMap,
        reading: ImageReading,
    ) -> "StoredPairs":
        """Take the rows of two columns; their bytes are read once, and nothing is decoded."""
        digests = np.zeros((len(rows), 2 * _HASH), np.uint8)
        for place, row in enumerate(rows.tolist()):
            for start, column in ((0, images), (_HASH, masks)):
                with suppress(DamagedImageError):  # found again, and counted, where they are decoded
                    digest = hashlib.sha256(column.content(row)).digest()
                    digests[place, start : start + _HASH] = np.frombuffer(digest, np.uint8)
        return cls(images, masks, rows, digests, classes, reading)

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]  # follows from the classes
        """Of the C classes."""
        return self.classes.names

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: NDArray[np.int64]) -> Sequence[LabelledImage]:
        """Return some of the images with their maps.

        Raises:
            DataError: a file is not what it was when all were checked; names it.
        """
        return [self._known(row) for row in self.rows[indices].tolist()]

    def name(self, index: int) -> str:
        """Return the file of an image, or its table and row."""
        return self.images.name(int(self.rows[index]))

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the bytes of all images and masks, of how they are decoded and what they mean."""
        digest = hashlib.sha256((self.reading.fingerprint() + self.classes.fingerprint()).encode())
        digest.update(self.digests.tobytes())
        return digest.hexdigest()

    def identities(self) -> Sequence[bytes]:
        """Return the sha256 of each image."""
        return [digest[:_HASH].tobytes() for digest in self.digests]

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """Return a number per image, `[N]`, that its bytes and a seed decide, and its place has no part in."""
        salt = f"{seed};".encode()
        found = [hashlib.sha256(salt + digest).digest()[:8] for digest in self.identities()]
        return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)

    def select(self, chosen: NDArray[np.bool_]) -> "StoredPairs":
        """Return the pairs that are marked in `[N]`."""
        return replace(self, rows=self.rows[chosen], digests=self.digests[chosen])

    def mask_name(self, index: int) -> str:
        """Return the file of a mask, or its table and row."""
        return self.masks.name(int(self.rows[index]))

    def checked(self) -> list[CheckedPair]:
        """Decode every image and every mask once, several at a time; return what was found of each.

        Raises:
            DataError: one is too large to be decoded, or a mask is of a kind that holds no ids.
        """
        found: list[CheckedPair] = []
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(self), _AT_ONCE):  # each job waits with an object of its own
                found += threads.map(self._check, self.rows[start : start + _AT_ONCE].tolist())
        return found

    def _check(self, row: int) -> CheckedPair:
        C = len(self.classes.names)
        try:
            one, unknown = self._read(row)
        except DamagedImageError as error:
            return CheckedPair(str(error), Counter(), np.zeros(C, np.int64), 0)
        pixels = np.bincount(one.classes.ravel(), minlength=IGNORED + 1)[:C]
        judged = 0 if one.outlier is None else int((one.outlier | one.inliers()).sum())
        return CheckedPair("", unknown, pixels, judged)

    def _known(self, row: int) -> LabelledImage:
        found, unknown = self._read(row)
        if unknown:
            raise DataError(
                f"{self.masks.name(row)} has the id {self.classes.shown(min(unknown))}, which it had not when it was "
                "checked; start again with masks that do not change"
            )
        return found

    def _read(self, row: int) -> tuple[LabelledImage, Counter[int]]:
        where, of_mask = self.images.name(row), self.masks.name(row)
        image = self.reading.pixels(io.BytesIO(self.images.content(row)), where)
        if of_mask == where:
            of_mask = f"{where} (mask)"
        ids: NDArray[Any] = map_ids(
            io.BytesIO(self.masks.content(row)), of_mask, self.classes.coloured, self.reading.max_pixels
        )
        if image.shape[:2] != ids.shape:
            (height, width), (tall, wide) = image.shape[:2], ids.shape
            turned = "; one of the two is turned by its EXIF" if (height, width) == (wide, tall) != (tall, wide) else ""
            raise UnlikePairError(
                f"{where} has {width} × {height} pixels, and its mask {of_mask} has {wide} × {tall}{turned}"
            )
        meant = self.classes.meant(ids)
        return LabelledImage(image, meant.classes, meant.outlier, meant.inlier), meant.unknown
