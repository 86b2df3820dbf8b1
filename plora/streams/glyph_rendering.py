"""Pictures of characters: bent, thickened and thinned, on uneven grounds, each a pure function of what names it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plora.streams.glyph_shapes import EXTENT, SIDE, distance_field

RENDERING = 1
"""Counts up when the same names give other pictures."""
_GRID = 4
"""Points of the coarse grids, a side."""
_SCALARS = 13
_WORDS = _SCALARS + 3 * _GRID**2
"""Random numbers that decide a picture, before those of its noise."""
_ANGLE, _SHEAR, _STRETCH, _SHIFT = 0.3, 0.3, 0.2, 0.09
"""Largest rotation and shear in radians, logarithm of a factor, and way as a share of the picture."""
_SIZE = (0.52, 0.8)
"""Longer side of a character as a share of the picture."""
_BEND = 0.07
"""Largest way of a point of the coarse grid, as a share of the picture."""
_THICKER = (-0.012, 0.035)
"""What a stroke gains at each side, as a share of the picture."""
_SOFTNESS = (1.0, 2.5)
"""Width of an edge in pixels."""
_CONTRAST, _UNEVEN, _NOISE = (0.35, 1.0), 0.2, 0.25
"""Of ink to ground, of the ground, and of single pixels; as shares of black to white."""


@dataclass(frozen=True)
class GlyphName:
    """What decides a picture.

    Args:
        character: that is shown.
        faces: of which one is drawn.
        key: two numbers below 2⁶⁴ that name it; no two pictures have the same.
    """

    character: str
    faces: tuple[str, ...]
    key: tuple[int, int]


def render(names: Sequence[GlyphName], size: int) -> NDArray[np.uint8]:
    """Return pictures, `[N, size, size]`.

    A picture is the distance field of its character, read where a random affine map and a smooth warp send each pixel.
    Distance becomes cover of ink, which is dark on a light, uneven ground; noise is added. Randomness is the raw output
    of Philox under the picture's key, the same for every version of numpy.

    Args:
        names: N.
        size: height and width in pixels.
    """
    words = np.stack([random_words(name.key, _WORDS + (size * size + 3) // 4) for name in names])
    scalars = (words[:, :_SCALARS] >> np.uint64(11)).astype(np.float64) * 2.0**-53  # in [0, 1)
    grids = (words[:, _SCALARS:_WORDS] >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1  # in [-1, 1)
    grids = grids.reshape(len(names), 3, _GRID, _GRID).astype(np.float32)
    drawn = [_drawn(name, share) for name, share in zip(names, scalars[:, 0].tolist(), strict=True)]
    fields = np.stack(drawn).astype(np.float32)
    smooth = _smooth(size)
    uneven = smooth @ grids @ smooth.T
    shares = scalars.astype(np.float32)[:, :, None, None]

    angle, shear = (between(shares[:, place], -most, most) for place, most in ((1, _ANGLE), (2, _SHEAR)))
    larger = between(shares[:, 3], *_SIZE) * (SIDE / EXTENT)
    wider = np.exp(between(shares[:, 4], -_STRETCH, _STRETCH))
    along, down = (between(shares[:, place], -_SHIFT, _SHIFT) for place in (5, 6))
    middle = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5)[None]
    x = middle[:, None, :] - along + _BEND * uneven[:, 0]
    y = middle[:, :, None] - down + _BEND * uneven[:, 1]
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = cos * x + sin * y, cos * y - sin * x
    x = (x + np.tan(shear) * y) / (larger * np.sqrt(wider))
    y = y / (larger / np.sqrt(wider))

    inside = read_fields(fields, x * SIDE + (SIDE - 1) / 2, y * SIDE + (SIDE - 1) / 2) * (size / SIDE * larger)
    thicker = between(shares[:, 7], *_THICKER) * size
    ink = np.clip(0.5 + (inside + thicker) / between(shares[:, 8], *_SOFTNESS), 0, 1)
    contrast = between(shares[:, 9], *_CONTRAST)
    darker = shares[:, 10] * (1 - contrast)
    noise = words[:, _WORDS:].copy().view("<u2")[:, : size * size].reshape(-1, size, size)
    grain = ((noise & 255).astype(np.float32) + (noise >> 8)) / 255 - 1  # of two bytes: like a tent, in [-1, 1]
    grey = darker + contrast * (1 - ink) + _UNEVEN * shares[:, 11] * uneven[:, 2] + _NOISE * shares[:, 12] * grain
    pixels: NDArray[np.uint8] = (np.clip(grey, 0, 1) * 255).round().astype(np.uint8)
    return pixels


def random_words(key: tuple[int, int], number: int) -> NDArray[np.uint64]:
    """Return numbers below 2⁶⁴ that a key decides, the same for every version of numpy: the raw output of Philox."""
    return np.random.Philox(key=np.array(key, np.uint64)).random_raw(number).astype("<u8")


def _drawn(name: GlyphName, share: float) -> NDArray[np.float16]:
    return distance_field(name.character, name.faces[int(share * len(name.faces))])


def between(share: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Return low + (high − low) · share."""
    found: NDArray[np.float32] = (low + (high - low) * share).astype(np.float32, copy=False)
    return found


def _smooth(size: int) -> NDArray[np.float32]:
    """What each point of a coarse grid has of each pixel of a row, `[size, GRID]`; a row sums to 1."""
    places = (np.arange(size) + 0.5) / size * _GRID - 0.5
    weights = np.exp(-0.5 * ((places[:, None] - np.arange(_GRID)) / 0.6) ** 2)
    found: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return found


def read_fields(
    fields: NDArray[np.float32], x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Return fields `[N, SIDE, SIDE]` at points `[N, H, W]`, bilinear; beyond the border what stands at the border."""
    x, y = np.clip(x, 0, SIDE - 1), np.clip(y, 0, SIDE - 1)
    column, row = (np.minimum(where.astype(np.int32), SIDE - 2) for where in (x, y))
    right, below = x - column, y - row
    flat = fields.reshape(-1)
    first = np.arange(len(fields), dtype=np.int32)[:, None, None] * SIDE**2 + row * SIDE + column
    upper = flat[first] * (1 - right) + flat[first + 1] * right
    lower = flat[first + SIDE] * (1 - right) + flat[first + SIDE + 1] * right
    found: NDArray[np.float32] = upper * (1 - below) + lower * below
    return found
