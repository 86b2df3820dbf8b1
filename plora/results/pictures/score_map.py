"""Scores of pixels as people look at them: from dark to light."""

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError

_STEPS = ("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4")
"""Evenly spaced colours of matplotlib's inferno, which become lighter evenly."""


def score_map(scores: NDArray[np.floating], low: float, high: float) -> NDArray[np.uint8]:
    """Return a picture of scores, `[H, W, 3]`: the lowest are black, the highest light yellow.

    Args:
        scores: `[H, W]`.
        low, high: what is black, and what is light yellow; scores beyond are shown as these.

    Raises:
        DataError: scores are not `[H, W]`, one is no number, or `low` is not below `high`.
    """
    if scores.ndim != 2 or bool(np.isnan(scores).any()):
        raise DataError(f"a map of scores is [H, W] numbers, got {list(scores.shape)}, or one that is no number")
    if not low < high:
        raise DataError(f"a map of scores goes from {low:g} to {high:g}; expected the first below the second")
    colours = np.array([list(bytes.fromhex(colour)) for colour in _STEPS], np.float64)
    places = np.clip((scores.astype(np.float64) - low) / (high - low), 0, 1)
    at = np.linspace(0, 1, len(colours))
    mixed = np.stack([np.interp(places, at, colours[:, channel]) for channel in range(3)], axis=-1)
    return mixed.round().astype(np.uint8)
