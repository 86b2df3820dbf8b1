"""Maps of classes as people look at them: as colours, by themselves or laid over the image."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError

_STRENGTH = 0.55
"""How much of a pixel is the colour of its class."""
_IGNORED = 255
_BITS = 8
_TOLD_APART = (
    *("a9a9a9", "e6194b", "3cb44b", "ffe119", "4363d8", "f58231", "911eb4", "42d4f4", "f032e6", "bfef45"),
    *("fabed4", "469990", "dcbeff", "9a6324", "fffac8", "800000", "aaffc3", "808000", "ffd8b1", "000075"),
)
"""Grey is the first: class 0 is mostly what everything else stands on."""


@cache
def class_colours() -> NDArray[np.uint8]:
    """Return the colour of each of 256 classes, `[256, 3]`; no two are the same, and the first twenty are told apart.

    The others: bit 7 − j of red, green and blue is bit 3 j, 3 j + 1 and 3 j + 2 of the class.

    Source: Trubetskoy 2017, List of 20 simple, distinct colors; Everingham et al. 2010 (PASCAL VOC) for the others.
    """
    classes = np.arange(256)
    found = np.zeros((256, 3), np.uint8)
    for bit in range(_BITS):
        for channel in range(3):
            found[:, channel] |= ((classes >> (3 * bit + channel) & 1) << (_BITS - 1 - bit)).astype(np.uint8)
    found[: len(_TOLD_APART)] = [list(bytes.fromhex(colour)) for colour in _TOLD_APART]
    found.setflags(write=False)
    return found


def coloured(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a map as a picture, `[H, W, 3]`: of each pixel the colour of its class, white where it is ignored.

    Args:
        classes: `[H, W]` uint8, 0 … C − 1, or 255 for ignored.
    """
    found: NDArray[np.uint8] = np.where((classes == _IGNORED)[..., None], np.uint8(255), class_colours()[classes])
    return found


def overlay(image: NDArray[np.uint8], classes: NDArray[np.uint8], class_names: Sequence[str]) -> NDArray[np.uint8]:
    """Return an image with the colour of each pixel's class laid over it, `[H, W, 3]`; ignored pixels stay as they are.

    Args:
        image: `[H, W, 3]` or `[H, W]` uint8.
        classes: `[H, W]` uint8, 0 … C − 1, or 255 for ignored.
        class_names: of the C classes.

    Raises:
        DataError: image and map are not of one size, or the map has a class that has no name.
    """
    if image.shape[:2] != classes.shape:
        raise DataError(f"the image is {image.shape[:2]} and its map {classes.shape}; expected the same H, W")
    shown = classes != _IGNORED
    if bool((beyond := shown & (classes >= len(class_names))).any()):
        raise DataError(f"the map has class {classes[beyond].max()}, and {len(class_names)} classes have names")
    found = (image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)).astype(np.float32)
    colours = class_colours()[classes].astype(np.float32)
    mixed = np.where(shown[..., None], (1 - _STRENGTH) * found + _STRENGTH * colours, found)
    return mixed.round().astype(np.uint8)
