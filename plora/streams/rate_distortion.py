"""Which partition type of a block costs least: a rate-distortion search over a whole image at once.

J = D + λ R for every partition type of every block. A rectangle is predicted from the row above it and the column left
of it, in the mode that leaves the smallest residual, which is transformed, quantised and counted.

What it is not: prediction reads the pixels of the image, not decoded ones (an open loop, as in an encoder's
lookahead); there are five modes of intra prediction and one transform; rates are the entropy of each rectangle by
itself, without contexts that adapt; a part of `SPLIT` may be divided again, those of `HORZ_A` and its kin are not. What
it chooses is what a plain encoder would choose, and no product.

Sources: λ = 0.85 (Δ / 2)², Sullivan & Wiegand 1998; the dead zone of 1/3 for intra blocks is that of the reference
encoder of H.264.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from plora.streams.partitions import PARTITIONS, SMALLEST, partitions_at

Floats = NDArray[np.float64]
MODES = ("dc", "vertical", "horizontal", "smooth", "paeth")
_ROUNDING = 1 / 3 + 1e-9
"""Added to a coefficient's share of a step before it is cut; a little more, so that rounding decides no tie."""


def partition_costs(luma: NDArray[np.uint8], size: int, step: float) -> Floats:
    """Return J of every partition type of every block, `[rows, columns, types]`, in squared levels of 8 bits.

    J = Σ over rectangles (‖residual − decoded residual‖² + λ bits) + λ log₂(types), of a part of `SPLIT` the smallest J
    of its own types. Blocks lie side by side from row 1 and column 1 on: the first row and column are context alone.

    Args:
        luma: `[H, W]`.
        size: side of a block, 8, 16, 32 or 64.
        step: Δ, the quantiser step of the orthonormal transform, in levels; > 0.
    """
    rows, columns = ((side - 1) // size for side in luma.shape)
    image = luma[: 1 + rows * size, : 1 + columns * size].astype(np.float64)
    return _costs(image, size, step, {})


def lagrangian(step: float) -> float:
    """Return λ = 0.85 (Δ / 2)², what a bit is worth in squared levels."""
    return 0.85 * (step / 2) ** 2


def _costs(image: Floats, size: int, step: float, known: dict[tuple[int, int], Floats]) -> Floats:
    types = partitions_at(size)
    split = None if size == SMALLEST else _costs(image, size // 2, step, known).min(axis=2)
    found = []
    for name in types:
        total: Floats | float = lagrangian(step) * np.log2(len(types))
        for top, left, high, wide in PARTITIONS[name]:
            height, width = round(high * size), round(wide * size)
            if name == "SPLIT" and split is not None:
                of_shape = split
            else:
                if (height, width) not in known:
                    known[height, width] = _rectangles(image, height, width, step)
                of_shape = known[height, width]
            first = round(top * size) // height, round(left * size) // width
            total = total + of_shape[first[0] :: size // height, first[1] :: size // width]
        found.append(total)
    return np.stack(found, axis=-1)


def _rectangles(image: Floats, height: int, width: int, step: float) -> Floats:
    """J of every rectangle of a shape, `[rows, columns]`."""
    rows, columns = (image.shape[0] - 1) // height, (image.shape[1] - 1) // width
    inside = image[1:, 1:].reshape(rows, height, columns, width).swapaxes(1, 2)
    above = image[:-1:height, 1:].reshape(rows, columns, 1, width)
    left = image[1:, :-1:width].reshape(rows, height, columns).swapaxes(1, 2)[..., None]
    corner = image[:-1:height, :-1:width][..., None, None]
    best, smallest = np.empty_like(inside), np.full((rows, columns), np.inf)
    for mode in MODES:
        residual = inside - _predicted(mode, above, left, corner)
        squared = np.einsum("rchw,rchw->rc", residual, residual)
        better = squared < smallest
        best[better], smallest[better] = residual[better], squared[better]
    return _cost(best, step)


def _predicted(mode: str, above: Floats, left: Floats, corner: Floats) -> Floats:
    """A prediction `[rows, columns, height, width]`, or what becomes one by broadcasting."""
    height, width = left.shape[2], above.shape[3]
    if mode == "dc":
        total: Floats = above.sum(axis=(2, 3), keepdims=True) + left.sum(axis=(2, 3), keepdims=True)
        mean: Floats = total / (height + width)
        return mean
    if mode == "vertical":
        return above
    if mode == "horizontal":
        return left
    if mode == "smooth":  # the mean of the ways down and across, each a line to the far corner
        down = (np.arange(height, 0, -1) / height)[:, None]
        across = np.arange(width, 0, -1) / width
        vertical: Floats = down * above + (1 - down) * left[:, :, -1:, :]
        horizontal: Floats = across * left + (1 - across) * above[..., -1:]
        return (vertical + horizontal) / 2
    base = above + left - corner  # Paeth: of the three the nearest, in this order
    distances = [np.abs(base - one) for one in (left, above, corner)]
    rest = np.where(distances[1] <= distances[2], above, corner)
    found: Floats = np.where((distances[0] <= distances[1]) & (distances[0] <= distances[2]), left, rest)
    return found


def _cost(residual: Floats, step: float) -> Floats:
    """D + λ R of each residual `[rows, columns, height, width]`: `[rows, columns]`."""
    height, width = residual.shape[2:]
    across = residual.reshape(-1, width) @ _transform(width).T  # one product for all, which small ones would not be
    down = across.reshape(residual.shape).swapaxes(2, 3).reshape(-1, height) @ _transform(height).T
    sizes = np.abs(down).reshape(*residual.shape[:2], width * height)
    levels = (sizes / step + _ROUNDING).astype(np.int32)
    rest = sizes - step * levels
    distortion: Floats = np.einsum("rcp,rcp->rc", rest, rest)
    bits = float(np.log2(len(MODES))) + _bits(levels, width, height)
    return distortion + lagrangian(step) * bits


def _bits(levels: NDArray[np.int32], width: int, height: int) -> Floats:
    """Bits of quantised coefficients `[rows, columns, width · height]`: `[rows, columns]`.

    One says whether any is not 0. Then log₂ of the diagonals says which is the last one; the places on and before it
    are told by their entropy n h(k / n), k of n not 0; each of the k has a sign and an Exp-Golomb code of its size.
    """
    diagonal = np.add.outer(np.arange(width), np.arange(height)).ravel()
    within = np.cumsum(np.bincount(diagonal))
    coded = levels > 0
    nonzero = coded.sum(axis=2)
    places = within[(coded * diagonal.astype(np.uint8)).max(axis=2)]
    size = np.arange(1 + levels.max())
    sizes = np.where(size > 0, 2 + 2 * np.floor(np.log2(np.maximum(size, 1))), 0)[levels].sum(axis=2)
    rest = np.log2(height + width - 1) + places * _entropy(nonzero / places) + sizes
    found: Floats = 1 + np.where(nonzero > 0, rest, 0)
    return found


def _entropy(share: Floats) -> Floats:
    """h(p) = − p log₂ p − (1 − p) log₂(1 − p), 0 at both ends."""
    inner = np.clip(share, 1e-12, 1 - 1e-12)
    found: Floats = np.where((share > 0) & (share < 1), -inner * np.log2(inner) - (1 - inner) * np.log2(1 - inner), 0)
    return found


@cache
def _transform(length: int) -> Floats:
    """The orthonormal DCT-II, `[length, length]`."""
    frequency, place = np.arange(length)[:, None], np.arange(length)
    found: Floats = np.cos(np.pi * frequency * (2 * place + 1) / (2 * length)) * np.sqrt(2 / length)
    found[0] /= np.sqrt(2)
    return found
