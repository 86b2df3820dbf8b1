"""Some examples of several splits as one split, with classes of its own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Split, TextInput, Texts
from plora.streams.images import Images, Pixels

Part = tuple[Split, NDArray[np.int64]]
"""A split, and which of its examples."""


def chosen(parts: Sequence[Part], labels: NDArray[np.int64]) -> Split:
    """Return some examples of several splits, one after the other, as one split.

    Args:
        parts: at least one; all texts, or all images.
        labels: `[N]` the class of each example.

    Raises:
        DataError: the splits are neither texts nor images with a class each.
    """
    splits = [split for split, _ in parts]
    if all(isinstance(split, Texts) for split in splits):
        inputs: list[TextInput] = [one for split, own in parts for one in split.read(own)]  # type: ignore[misc]
        return Texts(tuple(inputs), labels)
    if all(isinstance(split, Images) for split in splits):
        return ChosenImages(tuple((split, own) for split, own in parts if isinstance(split, Images)), labels)
    other = next(split for split in splits if not isinstance(split, Texts | Images))
    raise DataError(f"a tree takes texts or images with a class each, and these are {type(other).__name__.lower()}")


@dataclass(frozen=True)
class ChosenImages(Images):
    """Some images of several splits.

    Args:
        parts: splits, and which of their images, one after the other.
        labels: `[N]` int64.
    """

    parts: tuple[tuple[Images, NDArray[np.int64]], ...]
    labels: NDArray[np.int64]

    @property
    def slow(self) -> bool:  # type: ignore[override]  # decided by the splits
        """Whether a split is slow to read."""
        return any(split.slow for split, _ in self.parts)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Return some of the images; of each split all at once."""
        found: dict[int, Pixels] = {}
        owners = [self._owner(index) for index in indices.tolist()]
        for part, (split, _) in enumerate(self.parts):
            places = [place for place, (owner, _) in enumerate(owners) if owner == part]
            if places:
                wanted = np.array([owners[place][1] for place in places], np.int64)
                found.update(zip(places, split.read(wanted), strict=True))
        return [found[place] for place in range(len(owners))]

    def name(self, index: int) -> str:
        """Return what its split calls an image."""
        part, own = self._owner(index)
        return self.parts[part][0].name(own)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of those of the splits, which of their images, and the labels."""
        content = [[split.fingerprint(), own.tolist()] for split, own in self.parts]
        return hashlib.sha256(json.dumps([content, self.labels.tolist()]).encode()).hexdigest()

    def identities(self) -> Sequence[object] | None:
        """Return those of the splits; None where one has none."""
        found: list[object] = []
        for split, own in self.parts:
            if (of_split := split.identities()) is None:
                return None
            found += [of_split[index] for index in own.tolist()]
        return found

    def _owner(self, index: int) -> tuple[int, int]:
        """The split of an image, and its place there."""
        part = int(np.searchsorted(self._borders, index, side="right"))
        own = self.parts[part][1]
        return part, int(own[index - (self._borders[part] - len(own))])

    @cached_property
    def _borders(self) -> NDArray[np.int64]:
        return np.cumsum([len(own) for _, own in self.parts])
