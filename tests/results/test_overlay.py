"""Colours over images: one for each class, and nothing where nothing counts."""

import numpy as np
import pytest

from plora.errors import DataError
from plora.results.pictures.overlay import class_colours, overlay

NAMES = ("ground", "tree", "sky")


def test_all_colours_differ_and_the_first_ones_by_far() -> None:
    colours = class_colours()
    assert len(np.unique(colours, axis=0)) == 256
    first = colours[:20].astype(int)
    apart = np.abs(first[:, None] - first[None]).sum(-1)
    assert apart[~np.eye(20, dtype=bool)].min() > 50
    assert colours[20].tolist() == [0, 64, 128]  # tv/monitor, the last class of PASCAL VOC
    assert colours[255].tolist() == [224, 224, 192]


def test_a_class_is_seen_and_so_is_the_image_below_it() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[1] = 200
    classes = np.array([[0, 1, 255], [2, 2, 255]], np.uint8)
    found = overlay(image, classes, NAMES)
    assert found.dtype == np.uint8
    assert found[0].tolist() == [[93, 93, 93], [126, 14, 41], [0, 0, 0]]
    assert found[1].tolist() == [[123, 189, 131], [123, 189, 131], [200, 200, 200]]
    assert (image[1] == 200).all()
    assert np.array_equal(overlay(image[..., 0], classes, NAMES), found)


def test_maps_that_do_not_fit_are_refused() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    with pytest.raises(DataError, match=r"^the map has class 3, and 3 classes have names$"):
        overlay(image, np.full((2, 3), 3, np.uint8), NAMES)
    with pytest.raises(DataError, match=r"^the image is \(2, 3\) and its map \(3, 2\); expected the same H, W$"):
        overlay(image, np.zeros((3, 2), np.uint8), NAMES)
