"""Chance in training images: random crops, mirror images and colours, for a whole batch on its device."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plora.errors import DataError
from plora.problems.base import Indices
from plora.problems.settings import Augmentation

_RATIOS = 3 / 4, 4 / 3
"""Width to height of a crop, before it is stretched to the size of the image."""
_TRIES = 10


@dataclass(frozen=True)
class _Chance:
    """What was drawn for each of B images.

    Args:
        crop: `[B, 4]` left, top, width and height, in pixels.
        flip: `[B]` bool.
        colour: `[3, B]` factors of brightness, contrast and saturation.
    """

    crop: Tensor
    flip: Tensor
    colour: Tensor


class RandomImages:
    """Changes images by chance, each in a way that its draw and its position decide: batches have no part in it.

    In this order: a random resized crop (a share of the area and a ratio of its sides, uniform and log-uniform in
    [3/4, 4/3], of ten tries the first that fits, else the whole image; resized bilinearly), a mirror image in half of
    the cases, and brightness, contrast and saturation, each by a factor uniform in [1 − colour, 1 + colour].

    Args:
        settings: which of them.

    Raises:
        DataError: kornia is not installed.

    Source: Szegedy et al. 2015 (arXiv 1409.4842) for crops; torchvision's RandomResizedCrop and ColorJitter.
    """

    def __init__(self, settings: Augmentation) -> None:
        require_kornia()
        self.settings = settings

    def __call__(self, pixels: Tensor, indices: Indices, draw: int) -> Tensor:
        """Return changed images.

        Args:
            pixels: `[B, C, H, W]` in 0 to 1, on any device.
            indices: `[B]` the position of each among the examples.
            draw: 0 or more; decides, with the position, what happens to an image.

        Returns:
            `[B, C, H, W]` in 0 to 1.
        """
        from kornia.geometry.transform import crop_by_transform_mat, hflip

        height, width = pixels.shape[2:]
        chance = self._drawn(indices, draw, height, width)
        if self.settings.crop is not None:
            moved = _stretched(chance.crop, height, width).to(pixels)
            pixels = crop_by_transform_mat(pixels, moved, (height, width), padding_mode="border")
        if self.settings.flip:
            pixels = torch.where(chance.flip.to(pixels.device)[:, None, None, None], hflip(pixels), pixels)
        return coloured(pixels, chance.colour) if self.settings.colour else pixels

    def _drawn(self, indices: Indices, draw: int, height: int, width: int) -> _Chance:
        """All that is drawn for each image, whatever is used of it: one setting has no part in another's chance."""
        low, high = self.settings.crop or (1.0, 1.0)
        crops, flips, colours = [], [], []
        for index in indices.tolist():
            rng = np.random.default_rng([draw, index])
            flips.append(rng.random() < 0.5)
            colours.append(1 + self.settings.colour * rng.uniform(-1, 1, 3))
            places = rng.random(2)
            areas = rng.uniform(low, high, _TRIES) * height * width
            ratios = np.exp(rng.uniform(math.log(_RATIOS[0]), math.log(_RATIOS[1]), _TRIES))
            sides = np.stack([np.sqrt(areas * ratios), np.sqrt(areas / ratios)], axis=1).clip(min=1)
            fits = sides[(sides <= [width, height]).all(1)]
            size = fits[0] if len(fits) else np.array([width, height], float)
            crops.append([*(places * (np.array([width, height]) - size)), *size])
        return _Chance(torch.tensor(np.array(crops)), torch.tensor(flips), torch.tensor(np.array(colours).T))


def require_kornia() -> None:
    """Refuse augmentation where kornia is not installed.

    Raises:
        DataError: it is not.
    """
    try:
        import kornia  # noqa: F401
    except ImportError:
        raise DataError(
            "problem.augment needs the package 'kornia', which is not installed; install it with: pip install "
            '"plora[images]"'
        ) from None


def coloured(pixels: Tensor, factors: Tensor) -> Tensor:
    """Return images with other brightness, contrast and saturation, one after the other.

    Args:
        pixels: `[B, C, H, W]` in 0 to 1.
        factors: `[3, B]` of each of them.
    """
    from kornia import enhance

    brightness, contrast, saturation = factors.to(pixels)
    pixels = enhance.adjust_brightness_accumulative(pixels, brightness)
    pixels = enhance.adjust_contrast_with_mean_subtraction(pixels, contrast)
    found: Tensor = enhance.adjust_saturation_with_gray_subtraction(pixels, saturation)
    return found


def _stretched(crop: Tensor, height: int, width: int) -> Tensor:
    """Return the maps `[B, 2, 3]` from pixels of an image to those of its crop, which is stretched to the same size.

    A crop from `left` of `wide` pixels has centres from `left` to `left + wide − 1`, and they become 0 to `width` − 1.
    """
    start, extent = crop[:, :2], (crop[:, 2:] - 1).clamp(min=1)
    scale = torch.tensor([width - 1, height - 1], dtype=crop.dtype).clamp(min=1) / extent
    return torch.cat([torch.diag_embed(scale), (-start * scale)[..., None]], dim=2)
