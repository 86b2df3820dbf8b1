"""Objects cut from one image and pasted onto another: outliers to be learned from."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from plora.errors import DataError
from plora.streams.image_reading import DamagedImageError, Pixels, said_by_pillow
from plora.streams.labelled_images import IGNORED, LabelledImage

_SEEN = 0.5
"""Cover above which a pixel shows the object."""


@dataclass(frozen=True)
class Cutout:
    """An object that was cut out.

    Args:
        image: `[H, W, 3]` uint8.
        cover: `[H, W]` in 0 to 1, how much of each pixel is the object.

    Raises:
        DataError: they are not of one size, or no pixel shows the object.
    """

    image: Pixels
    cover: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.image.shape != (*self.cover.shape, 3):
            raise DataError(f"a cutout's image is {self.image.shape}, and its cover {self.cover.shape}; expected H, W")
        if not bool((self.cover > _SEEN).any()):
            raise DataError("a cutout shows nothing: no pixel of it is covered by more than half")


def cutout_of_alpha(content: bytes, where: str) -> Cutout:
    """Return the object of an image that is transparent around it, cut to its border; it is turned as its EXIF says.

    Args:
        content: bytes of the image.
        where: what to call it in a message.

    Raises:
        DamagedImageError: it is no image, corrupt or truncated.
        DataError: it is transparent nowhere, so that nobody says what the object is, or everywhere.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            turned = ImageOps.exif_transpose(image)
            clear = turned.has_transparency_data
            pixels = np.asarray(turned.convert("RGBA"))
    except Exception as error:  # Pillow's readers raise whatever a broken file leads to
        raise DamagedImageError(f"{where} cannot be read as an image: {said_by_pillow(error)}") from None
    cover = pixels[..., 3].astype(np.float32) / np.float32(255)
    if not clear or bool((cover == 1).all()):
        raise DataError(f"{where} is transparent nowhere; an object is cut out by what is transparent around it")
    if not bool((cover > _SEEN).any()):
        raise DataError(f"{where} is transparent everywhere; expected an object in it")
    return _to_border(pixels[..., :3], cover)


def cutout_of_classes(one: LabelledImage, classes: tuple[int, ...]) -> Cutout | None:
    """Return what an image shows of some classes, cut to its border; None where it shows nothing of them.

    Args:
        one: image and map.
        classes: 0 … C − 1 of its map.
    """
    shown = np.isin(one.classes, np.array(classes, np.uint8))
    if not shown.any():
        return None
    image = one.image if one.image.ndim == 3 else np.repeat(one.image[..., None], 3, axis=2)
    return _to_border(image, shown.astype(np.float32))


def paste_outlier(one: LabelledImage, cutout: Cutout, draw: int, index: int) -> LabelledImage:
    """Return an image with an object pasted where it fits, whose pixels are outliers and of no class.

    The place is uniform among those where the whole object is inside; one that is larger than the image is made smaller
    first. Pixels that the object covers by half or less keep their class.

    Args:
        one: image and map, before anything else is done to them.
        cutout: the object.
        draw: 0 or more; decides the place, with `index`.
        index: of the image among the examples.

    Source: Nayal et al. 2023 (arXiv 2211.14293).
    """
    height, width = one.classes.shape
    image, cover = _fitting(cutout, height, width)
    tall, wide = cover.shape
    rng = np.random.default_rng([draw, index])
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    place = (slice(top, top + tall), slice(left, left + wide))
    colours = one.image if one.image.ndim == 3 else np.repeat(one.image[..., None], 3, axis=2)
    pixels, classes = colours.copy(), one.classes.copy()
    share = cover[..., None]
    mixed = share * image.astype(np.float32) + (1 - share) * pixels[place].astype(np.float32)
    pixels[place] = mixed.round().astype(np.uint8)
    pasted = np.zeros((height, width), np.bool_)
    pasted[place] = cover > _SEEN
    classes[pasted] = IGNORED
    outlier = pasted if one.outlier is None else one.outlier | pasted
    return LabelledImage(pixels, classes, outlier, None if one.inlier is None else one.inlier & ~pasted)


def _to_border(image: Pixels, cover: NDArray[np.float32]) -> Cutout:
    rows, columns = (np.flatnonzero((cover > 0).any(axis)) for axis in (1, 0))
    border = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Cutout(np.ascontiguousarray(image[border]), np.ascontiguousarray(cover[border]))


def _fitting(cutout: Cutout, height: int, width: int) -> tuple[Pixels, NDArray[np.float32]]:
    """Image and cover of an object, no larger than what it is pasted onto."""
    tall, wide = cutout.cover.shape
    share = min(height / tall, width / wide)
    if share >= 1:
        return cutout.image, cutout.cover
    size = max(1, int(wide * share)), max(1, int(tall * share))
    # Colours are weighed by cover, or those of what was cut away would shine through at the border.
    weighed = [cutout.image[..., channel] * cutout.cover for channel in range(3)]
    parts = [
        np.asarray(Image.fromarray(part.astype(np.float32)).resize(size, Image.Resampling.BOX))
        for part in (*weighed, cutout.cover)
    ]
    cover = np.clip(parts[3], 0, 1)
    colours = np.stack(parts[:3], axis=-1) / np.maximum(cover, 1e-6)[..., None]
    return np.clip(colours, 0, 255).round().astype(np.uint8), cover
