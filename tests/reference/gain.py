"""Gates that read inputs, from the examples themselves: one input, one direction and one task at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def remembered(tasks: Sequence[Array], share: float) -> Array:
    """An orthonormal basis `[d, m]` of what tasks span: of each the fewest more directions that hold `share` of it.

    Args:
        tasks: features `[N, d]` of each.
        share: ε.
    """
    basis = np.zeros((tasks[0].shape[1], 0))
    for X in tasks:
        total = sum(float(x @ x) for x in X)
        rest = np.array([x - basis @ (basis.T @ x) for x in X])
        held = total - float((rest**2).sum())
        directions, sizes, _ = np.linalg.svd(rest.T, full_matrices=False)
        for u, size in zip(directions.T, sizes, strict=True):
            if held >= share * total:
                break
            basis = np.column_stack([basis, u])
            held += size**2
    return basis


def start(older: Sequence[Array], own: Array, share: float, opening: float) -> Array:
    """v `[d]` of a new task before a step: along the strongest direction that older tasks leave free.

    Args:
        older: features `[N, d]` of older tasks.
        own: of the new one.
        share: ε.
        opening: f of the root mean square of vᵀ φ over its inputs.
    """
    d = own.shape[1]
    basis = remembered(older, share) if older else np.zeros((d, 0))
    free = np.array([x - basis @ (basis.T @ x) for x in own])
    u = np.linalg.svd(free.T, full_matrices=False)[0][:, 0]
    size = np.sqrt(sum(float(u @ x) ** 2 for x in free) / len(free))
    return np.asarray(u * np.log((1 + opening) / (1 - opening)) / size)


def gates(vectors: Sequence[Array], x: Array) -> list[float]:
    """|2σ(b) − 1| of each gate for one input, b = vᵀ x."""
    return [abs(2 / (1 + np.exp(-sum(a * b for a, b in zip(v, x, strict=True)))) - 1) for v in vectors]
