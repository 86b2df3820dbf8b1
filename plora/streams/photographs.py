"""Photographs that installed packages ship, so that nothing is downloaded."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from plora.errors import DataError
from plora.streams.image_reading import ImageReading, Pixels

PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    "temple": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "portrait": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
"""Photographs by name: the package that ships each, and its path there.

Source: `sklearn.datasets.load_sample_images` (danielbuechele and vultilion on Flickr, CC BY 2.0); the sample data of
matplotlib.
"""
_INSTALLED_WITH = {"sklearn": 'pip install "plora[quickstart]"', "matplotlib": "pip install matplotlib"}


@cache
def photograph(name: str) -> Pixels:
    """Return a photograph, `[H, W, 3]`.

    Raises:
        DataError: its package is not installed, or does not ship it.
    """
    path = _path(name)
    found = ImageReading(colours="rgb").pixels(path, str(path))
    return np.ascontiguousarray(found)


@cache
def luma(name: str) -> Pixels:
    """Return the luma of a photograph, `[H, W]`.

    Raises:
        DataError: its package is not installed, or does not ship it.
    """
    return luma_of(photograph(name))


def luma_of(image: Pixels) -> Pixels:
    """Return the luma of an image, `[H, W]`: (299 R + 587 G + 114 B) / 1000, rounded (BT.601, full range).

    Args:
        image: `[H, W, 3]`.
    """
    found: Pixels = np.floor(image @ np.array([0.299, 0.587, 0.114]) + 0.5).astype(np.uint8)
    return found


@cache
def photograph_hash(name: str) -> str:
    """Return the sha256 (hex) of the file of a photograph.

    Raises:
        DataError: its package is not installed, or does not ship it.
    """
    return hashlib.sha256(_path(name).read_bytes()).hexdigest()


def _path(name: str) -> Path:
    package, inside = PHOTOGRAPHS[name]
    found = find_spec(package)  # the package itself is not loaded
    places = (found.submodule_search_locations if found is not None else None) or ()
    for place in places:
        if (path := Path(place, inside)).is_file():
            return path
    raise DataError(
        f"the photograph '{name}' is the file {inside} of the package '{package}', which is not there; install it "
        f"with: {_INSTALLED_WITH[package]}"
    )
