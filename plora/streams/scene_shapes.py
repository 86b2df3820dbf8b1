"""The outlines of simple shapes, as fields of distances like those of characters."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from plora.streams.glyph_shapes import EXTENT, SIDE

Points = NDArray[np.float64]
_SPIKES, _DEEP = 5, 0.42
"""Points of a star, and how far its notches are from the middle."""

_POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (0.98, 0.75), (-0.98, 0.75)],
    "star": [
        (
            (1 if corner % 2 == 0 else _DEEP) * math.sin(corner * math.pi / _SPIKES),
            -(1 if corner % 2 == 0 else _DEEP) * math.cos(corner * math.pi / _SPIKES),
        )
        for corner in range(2 * _SPIKES)
    ],
    "cross": [
        (-0.32, -1),
        (0.32, -1),
        (0.32, -0.32),
        (1, -0.32),
        (1, 0.32),
        (0.32, 0.32),
        (0.32, 1),
        (-0.32, 1),
        (-0.32, 0.32),
        (-1, 0.32),
        (-1, -0.32),
        (-0.32, -0.32),
    ],
    "arrow": [(0, -1), (0.9, 0), (0.36, 0), (0.36, 1), (-0.36, 1), (-0.36, 0), (-0.9, 0)],
}
"""Corners in −1 to 1, the second coordinate downwards."""
SHAPES = ("disc", "square", "triangle", "star", "ring", "cross", "arrow", "crescent")
"""Their names, in the order in which they become classes."""


@cache
def shape_field(name: str) -> NDArray[np.float16]:
    """Return how far each point lies inside the outline of a shape, `[SIDE, SIDE]`; outside it is below 0.

    Args:
        name: one of SHAPES.

    Source: Quilez, 2D distance functions (for the polygon).
    """
    middle = (np.arange(SIDE) - (SIDE - 1) / 2) / (EXTENT / 2)
    x, y = np.meshgrid(middle, middle)
    if name in _POLYGONS:
        inside = _of_polygon(x, y, _POLYGONS[name])
    elif name == "disc":
        inside = 1 - np.hypot(x, y)
    elif name == "ring":
        inside = 0.25 - np.abs(np.hypot(x, y) - 0.75)
    else:  # a crescent: a disc, and another one taken from it
        inside = np.minimum(1 - np.hypot(x, y), np.hypot(x - 0.5, y) - 0.8)
    return (inside * (EXTENT / 2)).astype(np.float16)


def _of_polygon(x: Points, y: Points, corners: list[tuple[float, float]]) -> Points:
    """How far points lie inside a polygon: the distance to its nearest edge, below 0 where an odd number is crossed."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, np.bool_)
    for (left, top), (right, bottom) in zip(corners, [*corners[1:], corners[0]], strict=True):
        along, down = right - left, bottom - top
        share = np.clip(((x - left) * along + (y - top) * down) / (along**2 + down**2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - left - share * along, y - top - share * down))
        if down:
            crosses = ((top > y) != (bottom > y)) & (x < left + along * (y - top) / down)
            inside ^= crosses
    return np.where(inside, nearest, -nearest)
