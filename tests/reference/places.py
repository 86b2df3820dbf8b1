"""Residual adapters as slowly and plainly as they can be written: float64, one position and one slot at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Coefficient = Callable[[int, tuple[int, ...]], float]
"""(slot's position on the route, index of the vector: sample, then token) → c."""


@dataclass(frozen=True)
class Path:
    """D `[w, d]`, b `[w]`, U `[d, w]`, b' `[d]` of one slot."""

    D: Array
    b: Array
    U: Array
    b_out: Array


def share(path: Path, y: Array) -> Array:
    """U relu(D y + b) + b' of one vector."""
    return path.U @ np.maximum(path.D @ y + path.b, 0) + path.b_out


def layer_norm(y: Array) -> Array:
    return (y - y.mean()) / np.sqrt(y.var() + 1e-5)


def states(y: Array, paths: Sequence[Path], c: Coefficient, normed: bool = False) -> Array:
    """y + Σ_k c_k share_k(y) for every vector of y `[B, T, d]`."""
    out = y.copy()
    for where in np.ndindex(*y.shape[:-1]):
        for k, path in enumerate(paths):
            out[where] += c(k, where) * share(path, layer_norm(y[where]) if normed else y[where])
    return out


def maps(y: Array, paths: Sequence[Path], c: Coefficient, pooled: bool = False) -> Array:
    """The same at every position of y `[B, d, H, W]`, or from the mean over them."""
    out = y.copy()
    samples, _, height, width = y.shape
    for n in range(samples):
        for i in range(height):
            for j in range(width):
                source = y[n].mean((1, 2)) if pooled else y[n, :, i, j]
                for k, path in enumerate(paths):
                    out[n, :, i, j] += c(k, (n, i * width + j)) * share(path, source)
    return out


def batch_norm(y: Array, mean: Array, variance: Array, scale: Array, shift: Array) -> Array:
    """scale (y − mean) / √(variance + ε) + shift of each channel of y `[B, C, H, W]`."""
    out = np.empty_like(y)
    for c in range(y.shape[1]):
        out[:, c] = scale[c] * (y[:, c] - mean[c]) / np.sqrt(variance[c] + 1e-5) + shift[c]
    return out


def convolution(x: Array, kernel: Array, stride: int, padding: int, dilation: int) -> Array:
    """x `[B, C, H, W]` with kernel `[O, C, k, k]`, one output at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    size = kernel.shape[-1]
    reach = dilation * (size - 1) + 1
    rows, columns = ((side - reach) // stride + 1 for side in x.shape[2:])
    y = np.zeros((len(x), len(kernel), rows, columns))
    for n, o, i, j in np.ndindex(*y.shape):
        seen = x[n, :, i * stride : i * stride + reach : dilation, j * stride : j * stride + reach : dilation]
        y[n, o, i, j] = (seen * kernel[o]).sum()
    return y
