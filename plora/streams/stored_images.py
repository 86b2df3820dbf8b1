"""Images that stand in files or in a table, as a split: decoded when they are read."""

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plora.streams.image_column import ImageColumn
from plora.streams.image_reading import DamagedImageError, ImageReading, Pixels
from plora.streams.images import Images

_AT_ONCE = 4096
"""Images that are checked before more are looked at."""


@dataclass(frozen=True)
class StoredImages(Images):
    """Some images of a column.

    Args:
        column: of N' images.
        rows: `[N]` which of them.
        digests: `[N, 32]` uint8, the sha256 of the bytes of each.
        labels: `[N]` int64.
        reading: how they are decoded.
    """

    column: ImageColumn
    rows: NDArray[np.int64]
    digests: NDArray[np.uint8]
    labels: NDArray[np.int64]
    reading: ImageReading
    slow = True

    @classmethod
    def of(
        cls, column: ImageColumn, rows: NDArray[np.int64], labels: NDArray[np.int64], reading: ImageReading
    ) -> "StoredImages":
        """Take the rows of a column; their bytes are read once, and nothing is decoded."""
        digests = np.zeros((len(rows), 32), np.uint8)
        for place, row in enumerate(rows.tolist()):
            with suppress(DamagedImageError):  # found again, and counted, where images are decoded
                digests[place] = np.frombuffer(hashlib.sha256(column.content(row)).digest(), np.uint8)
        return cls(column, rows, digests, labels, reading)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Return some of the images."""
        return [self._pixels(row) for row in self.rows[indices].tolist()]

    def name(self, index: int) -> str:
        """Return the file of an image, or its table and row."""
        return self.column.name(int(self.rows[index]))

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the bytes and labels of all images in their order, and of how they are decoded."""
        digest = hashlib.sha256(self.reading.fingerprint().encode())
        digest.update(self.digests.tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def identities(self) -> Sequence[bytes]:
        """Return the sha256 of each image."""
        return [digest.tobytes() for digest in self.digests]

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """Return a number per image, `[N]`, that its bytes and a seed decide, and its place has no part in."""
        salt = f"{seed};".encode()
        found = [hashlib.sha256(salt + digest.tobytes()).digest()[:8] for digest in self.digests]
        return np.frombuffer(b"".join(found), ">u8").astype(np.uint64)

    def select(self, chosen: NDArray[np.bool_]) -> "StoredImages":
        """Return the images that are marked in `[N]`."""
        return replace(self, rows=self.rows[chosen], digests=self.digests[chosen], labels=self.labels[chosen])

    def of_classes(self, classes: Sequence[int], kept: Sequence[int] | None = None) -> "StoredImages":
        """Return the images of some classes, each labelled with the place of its class.

        Args:
            classes: old labels in their new order.
            kept: those of them whose images stay; None keeps all.
        """
        place = {label: number for number, label in enumerate(classes)}
        chosen = self.select(np.isin(self.labels, np.array(classes if kept is None else kept, np.int64)))
        return replace(chosen, labels=np.array([place[label] for label in chosen.labels.tolist()], np.int64))

    def damaged(self) -> dict[int, str]:
        """Decode every image once, several at a time; return the places of those that cannot be, and why.

        Raises:
            DataError: an image is too large to be decoded.
        """
        found: list[str | None] = []
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(self), _AT_ONCE):  # each job waits with an object of its own
                found += threads.map(self._damage, self.rows[start : start + _AT_ONCE].tolist())
        return {place: said for place, said in enumerate(found) if said is not None}

    def _damage(self, row: int) -> str | None:
        try:
            self._pixels(row)
        except DamagedImageError as error:
            return str(error)
        return None

    def _pixels(self, row: int) -> Pixels:
        return self.reading.pixels(io.BytesIO(self.column.content(row)), self.column.name(row))
