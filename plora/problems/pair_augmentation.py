"""Chance in training images and their maps: both are scaled, cut and mirrored alike, a batch at once on its device."""

import math

import numpy as np
import torch
from torch import Tensor

from plora.problems.augmentation import coloured, require_kornia
from plora.problems.base import Indices
from plora.problems.settings import PairAugmentation
from plora.streams.labelled_images import IGNORED


def random_pairs(
    pixels: Tensor, maps: Tensor, indices: Indices, draw: int, settings: PairAugmentation
) -> tuple[Tensor, Tensor]:
    """Return changed images and maps, each pair in a way that its draw and its position decide, whatever the batch.

    In this order: both are scaled by one factor, log-uniform in `scale`, and cut to the same size at a place that is
    uniform; both are mirrored in half of the cases; and the image gets brightness, contrast and saturation, each by a
    factor uniform in [1 − colour, 1 + colour]. Images are read bilinearly and maps at the nearest pixel, so that a map
    has no id that it had not, but for IGNORED where it lies outside; there the image is black.

    Args:
        pixels: `[B, C, H, W]` in 0 to 1, on any device.
        maps: `[B, H, W]` or `[B, M, H, W]` whole numbers in 0 to IGNORED, M maps of one image alike.
        indices: `[B]` the position of each among the examples.
        draw: 0 or more.
        settings: which of them.

    Raises:
        DataError: kornia is not installed.

    Source: Ghiasi et al. 2021 (arXiv 2012.07177), large scale jittering.
    """
    require_kornia()
    height, width = pixels.shape[2:]
    scaling, flips, factors = _drawn(indices, draw, height, width, settings)
    if settings.scale is not None:
        pixels, maps = _scaled(pixels, maps, scaling)
    if settings.flip:
        turned = flips.to(pixels.device)
        pixels = torch.where(turned[:, None, None, None], pixels.flip(-1), pixels)
        maps = torch.where(turned.view(-1, *[1] * (maps.dim() - 1)), maps.flip(-1), maps)
    return coloured(pixels, factors) if settings.colour else pixels, maps


def _drawn(
    indices: Indices, draw: int, height: int, width: int, settings: PairAugmentation
) -> tuple[Tensor, Tensor, Tensor]:
    """All that is drawn for each pair, whatever is used of it: one setting has no part in another's chance.

    Returns:
        `[B, 2, 3]` from pixels before to pixels after, `[B]` whether mirrored, `[3, B]` factors of colours.
    """
    low, high = settings.scale or (1.0, 1.0)
    moved, flips, colours = [], [], []
    for index in indices.tolist():
        rng = np.random.default_rng([draw, index])
        flips.append(rng.random() < 0.5)
        colours.append(1 + settings.colour * rng.uniform(-1, 1, 3))
        place = rng.random(2)
        factor = math.exp(rng.uniform(math.log(low), math.log(high)))
        # Room is below 0 where the image becomes larger than what is kept of it. Centres of pixels are at + ½.
        left, top = place * (np.array([width, height]) * (1 - factor)) + (factor - 1) / 2
        moved.append([[factor, 0, left], [0, factor, top]])
    return torch.tensor(np.array(moved)), torch.tensor(flips), torch.tensor(np.array(colours).T)


def _scaled(pixels: Tensor, maps: Tensor, scaling: Tensor) -> tuple[Tensor, Tensor]:
    from kornia.geometry.transform import warp_affine

    moved, size = scaling.to(pixels.device, torch.float32), (pixels.shape[2], pixels.shape[3])
    layers = maps if maps.dim() == 4 else maps[:, None]
    # What lies outside is 0: ids are counted from there, downwards from IGNORED.
    counted = (IGNORED - layers).float()
    found = warp_affine(counted, moved, size, mode="nearest", padding_mode="zeros", align_corners=True)
    changed = IGNORED - found.round().to(torch.int64)
    pixels = warp_affine(pixels, moved.to(pixels.dtype), size, padding_mode="zeros", align_corners=True)
    return pixels, changed.to(maps.dtype).view(maps.shape)
