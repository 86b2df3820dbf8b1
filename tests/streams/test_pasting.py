"""Outliers by cut and paste: what is cut, where it is pasted, and what the maps say."""

import io

import numpy as np
import pytest
from PIL import Image

from plora.errors import DataError
from plora.streams.image_reading import DamagedImageError
from plora.streams.labelled_images import IGNORED, LabelledImage, LabelledImageArray
from plora.streams.pasting import Cutout, cutout_of_alpha, cutout_of_classes, paste_outlier

STREET = LabelledImage(np.full((20, 30, 3), 100, np.uint8), np.tile(np.arange(30, dtype=np.uint8) % 3, (20, 1)))


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def disc() -> np.ndarray:
    """A red disc of 7 pixels on a transparent ground of 12."""
    rows, columns = np.mgrid[:12, :12]
    alpha = np.where((rows - 5) ** 2 + (columns - 6) ** 2 <= 9, 255, 0)
    return np.dstack([np.full((12, 12), 250), np.zeros((12, 12)), np.zeros((12, 12)), alpha]).astype(np.uint8)


def test_an_object_is_cut_by_what_is_transparent_around_it() -> None:
    found = cutout_of_alpha(png(disc()), "disc.png")
    assert found.cover.shape == (7, 7)
    assert np.array_equal(found.cover == 1, disc()[2:9, 3:10, 3] == 255)


def test_pasted_pixels_are_outliers_of_no_class_and_the_others_stay() -> None:
    cutout = cutout_of_alpha(png(disc()), "disc.png")
    found = paste_outlier(STREET, cutout, 4, 7)
    assert found.outlier is not None
    assert found.outlier.sum() == (cutout.cover == 1).sum()
    assert np.array_equal(found.image[..., 0] == 250, found.outlier)
    assert (found.classes[found.outlier] == IGNORED).all()
    assert np.array_equal(found.classes[~found.outlier], STREET.classes[~found.outlier])
    assert (found.image[~found.outlier] == 100).all()
    assert STREET.outlier is None
    assert (STREET.image == 100).all()  # what is pasted onto is not changed


def test_a_second_object_is_an_outlier_beside_the_first() -> None:
    cutout = cutout_of_alpha(png(disc()), "disc.png")
    first = paste_outlier(STREET, cutout, 4, 7)
    both = paste_outlier(first, cutout, 5, 7)
    assert first.outlier is not None
    assert both.outlier is not None
    assert (both.outlier | first.outlier).sum() == both.outlier.sum() > first.outlier.sum()
    assert np.array_equal(both.inliers(), ~both.outlier)


def test_draw_and_index_decide_the_place_which_is_anywhere_inside() -> None:
    cutout = Cutout(np.zeros((2, 3, 3), np.uint8), np.ones((2, 3), np.float32))

    def place(draw: int, index: int) -> tuple[int, int]:
        outlier = paste_outlier(STREET, cutout, draw, index).outlier
        assert outlier is not None
        assert outlier.sum() == 6
        rows, columns = np.nonzero(outlier)
        return int(rows.min()), int(columns.min())

    places = np.array([place(draw, index) for draw in range(20) for index in range(20)])
    assert place(3, 5) == place(3, 5)
    assert len(np.unique(places, axis=0)) > 200
    assert places.min(0).tolist() == [0, 0]
    assert places.max(0).tolist() == [18, 27]


def test_a_soft_border_is_mixed_and_more_than_half_is_the_object() -> None:
    cover = np.array([[0.0, 0.25, 0.75, 1.0]], np.float32)
    found = paste_outlier(STREET, Cutout(np.full((1, 4, 3), 200, np.uint8), cover), 1, 1)
    assert found.outlier is not None
    row, first = np.argwhere(found.outlier)[0]
    assert found.image[row, first - 1 : first + 2, 0].tolist() == [125, 175, 200]
    assert found.outlier.sum() == 2


def test_an_object_that_is_larger_than_the_image_is_made_smaller() -> None:
    large = np.zeros((80, 200, 4), np.uint8)
    large[:, 50:150] = (250, 10, 20, 255)
    large[:, :50, :3] = 9  # what is cut away does not shine through
    found = paste_outlier(STREET, cutout_of_alpha(png(large), "wide.png"), 0, 0)
    assert found.outlier is not None
    rows, columns = np.nonzero(found.outlier)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (20, 25)
    assert (found.image[found.outlier] == (250, 10, 20)).all()


def test_an_object_is_cut_from_another_image_by_its_map() -> None:
    found = cutout_of_classes(STREET, (1,))
    assert found is not None
    assert found.cover.shape == (20, 28)
    assert found.cover.sum() == (STREET.classes == 1).sum()
    assert cutout_of_classes(STREET, (9,)) is None
    grey = LabelledImage(STREET.image[..., 0], STREET.classes)
    assert paste_outlier(grey, found, 0, 0).image.shape == (20, 30, 3)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(DataError, match=r"^a.png is transparent nowhere; "):
        cutout_of_alpha(png(disc()[..., :3]), "a.png")
    with pytest.raises(DataError, match=r"^a.png is transparent everywhere; "):
        cutout_of_alpha(png(np.zeros((3, 3, 4), np.uint8)), "a.png")
    with pytest.raises(DamagedImageError, match=r"^a.png cannot be read as an image: "):
        cutout_of_alpha(png(disc())[:40], "a.png")
    with pytest.raises(DataError, match=r"^a cutout shows nothing"):
        Cutout(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.float32))
    with pytest.raises(DataError, match=r"^a cutout's image is \(1, 1, 3\), and its cover \(2, 1\); "):
        Cutout(np.zeros((1, 1, 3), np.uint8), np.ones((2, 1), np.float32))


# ---------------------------------------------------------------------- images with maps in memory


def test_images_and_maps_in_memory() -> None:
    images = [np.zeros((2, 3, 3), np.uint8), np.ones((4, 4), np.uint8)]
    maps = [np.zeros((2, 3), np.uint8), np.full((4, 4), IGNORED, np.uint8)]
    found = LabelledImageArray(images, maps, ("a", "b"))
    assert [one.classes.shape for one in found.read(np.array([1, 0]))] == [(4, 4), (2, 3)]
    prints = {found.fingerprint()}
    prints.add(LabelledImageArray(images, maps, ("a", "c")).fingerprint())
    prints.add(LabelledImageArray(images, [maps[0] + 1, maps[1]], ("a", "b")).fingerprint())
    outliers = [np.zeros((2, 3), np.bool_), np.ones((4, 4), np.bool_)]
    prints.add(LabelledImageArray(images, maps, ("a", "b"), outliers).fingerprint())
    assert len(prints) == 4
    with pytest.raises(DataError, match=r"^2 images have 1 maps; expected one for each$"):
        LabelledImageArray(images, maps[:1], ("a", "b"))
    with pytest.raises(DataError, match=r"^the image has 3 × 2 pixels, and its map 4 × 4; "):
        LabelledImageArray(images, maps[::-1], ("a", "b"))
    with pytest.raises(DataError, match=r"^pixels are outliers and have a class"):
        LabelledImageArray(images, maps, ("a", "b"), [~outliers[0], outliers[1]])
