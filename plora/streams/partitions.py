"""How AV1 divides a square block: the partition types of each size, and the rectangles that each is made of."""

from collections.abc import Mapping

Rectangle = tuple[float, float, float, float]
"""Top, left, height and width as shares of the block's side."""

PARTITIONS: Mapping[str, tuple[Rectangle, ...]] = {
    "NONE": ((0, 0, 1, 1),),
    "HORZ": ((0, 0, 1 / 2, 1), (1 / 2, 0, 1 / 2, 1)),
    "VERT": ((0, 0, 1, 1 / 2), (0, 1 / 2, 1, 1 / 2)),
    "SPLIT": ((0, 0, 1 / 2, 1 / 2), (0, 1 / 2, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2, 1 / 2), (1 / 2, 1 / 2, 1 / 2, 1 / 2)),
    "HORZ_A": ((0, 0, 1 / 2, 1 / 2), (0, 1 / 2, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2, 1)),
    "HORZ_B": ((0, 0, 1 / 2, 1), (1 / 2, 0, 1 / 2, 1 / 2), (1 / 2, 1 / 2, 1 / 2, 1 / 2)),
    "VERT_A": ((0, 0, 1 / 2, 1 / 2), (1 / 2, 0, 1 / 2, 1 / 2), (0, 1 / 2, 1, 1 / 2)),
    "VERT_B": ((0, 0, 1, 1 / 2), (0, 1 / 2, 1 / 2, 1 / 2), (1 / 2, 1 / 2, 1 / 2, 1 / 2)),
    "HORZ_4": tuple((part / 4, 0, 1 / 4, 1) for part in range(4)),
    "VERT_4": tuple((0, part / 4, 1, 1 / 4) for part in range(4)),
}
"""Every type in the order of the AV1 specification, by its rectangles in the order in which they are coded.

Source: AV1 bitstream specification, 6.10.4 (partition semantics).
"""
SMALLEST = 8
"""A block that is not divided further than into its four types."""
_OF_THE_SMALLEST = ("NONE", "HORZ", "VERT", "SPLIT")


def partitions_at(size: int) -> tuple[str, ...]:
    """Return the types of a block of `size` × `size` pixels: four at 8, all ten at 16, 32 and 64."""
    return _OF_THE_SMALLEST if size == SMALLEST else tuple(PARTITIONS)
