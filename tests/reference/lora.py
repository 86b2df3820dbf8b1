"""LoRA with several slots, as slowly and plainly as it can be written: float64, one sample and one slot at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """A `[r, I]`, B `[O, r]` and the scale of one slot in one layer."""

    A: Array
    B: Array
    scale: float


Coefficient = Callable[[int, tuple[int, ...]], float]
"""(slot's position on the route, index of the input vector) → c."""


def adapted_linear(x: Array, W: Array, b: Array, slots: Sequence[Pair], c: Coefficient) -> Array:
    """y = W x + b + Σ_k c_k s_k B_k A_k x for every vector of x `[…, I]`."""
    y = np.empty((*x.shape[:-1], len(W)))
    for where in np.ndindex(*x.shape[:-1]):
        y[where] = W @ x[where] + b
        for k, slot in enumerate(slots):
            y[where] += c(k, where) * slot.scale * (slot.B @ (slot.A @ x[where]))
    return y


def mixed_linear(x: Array, W: Array, b: Array, slots: Sequence[Pair], c: Coefficient, M: Array) -> Array:
    """y = W x + b + Σ_i s_i B_i Σ_j M_ij c_j a_jᵀ x over the rank-one directions i, j of all slots."""
    directions = [(k, row) for k, slot in enumerate(slots) for row in range(len(slot.A))]
    y = np.empty((*x.shape[:-1], len(W)))
    for where in np.ndindex(*x.shape[:-1]):
        y[where] = W @ x[where] + b
        for i, (into, column) in enumerate(directions):
            for j, (source, row) in enumerate(directions):
                z = c(source, where) * (slots[source].A[row] @ x[where])
                y[where] += slots[into].scale * slots[into].B[:, column] * M[i, j] * z
    return y
