"""Which token of which document stands where in a batch: windows of documents, and rows that hold several of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class Window(NamedTuple):
    """A part of one document.

    Args:
        document: position in the batch.
        first: place in the document of the first token that is read.
        read: tokens that are read.
        counted: of them, from which on the token after each is predicted.
    """

    document: int
    first: int
    read: int
    counted: int


@dataclass(frozen=True)
class Placed:
    """A window in a row.

    Args:
        window: the window.
        row, column: where its first token stands.
    """

    window: Window
    row: int
    column: int


def windows(document: int, read: int, width: int, context: int) -> Iterator[Window]:
    """Yield the windows of one document; in all of them together, each token after one that is read counts once.

    Args:
        document: position in the batch.
        read: tokens of the document that are read.
        width: most tokens of a window.
        context: tokens of a later window that an earlier one has predicted; below `width`.
    """
    first = done = 0
    while done < read:
        end = min(first + width, read)
        yield Window(document, first, end - first, done - first)
        first, done = end - context, end


def pack(found: Sequence[Window], width: int) -> list[Placed]:
    """Put windows into as few rows as first fit finds, the longest first.

    Args:
        found: each of at most `width` tokens.
        width: of a row.
    """
    free: list[int] = []
    placed = []
    for window in sorted(found, key=lambda window: -window.read):
        row = next((row for row, room in enumerate(free) if room >= window.read), len(free))
        if row == len(free):
            free.append(width)
        placed.append(Placed(window, row, width - free[row]))
        free[row] -= window.read
    return placed


def apart(found: Sequence[Window]) -> list[Placed]:
    """Give each window a row of its own."""
    return [Placed(window, row, 0) for row, window in enumerate(found)]
