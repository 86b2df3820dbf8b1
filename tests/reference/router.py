"""The router from the examples themselves: no sums, one depth, class, example and coordinate at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nearest_tasks(tasks: Sequence[tuple[Array, Sequence[int]]], points: Array, shrinkage: float) -> list[int]:
    """The task of argmin_c Σ_l (f_l − μ_cl)ᵀ Σ_l⁻¹ (f_l − μ_cl), Σ_l within classes, shrunk towards its mean variance.

    Args:
        tasks: features `[N, D, d]` and the row of each example, per task; a row of two tasks is two classes.
        points: features `[P, D, d]`, each of which has its task chosen.
        shrinkage: share of the mean variance, γ of (1 − γ) Σ + γ · tr Σ / d · I.
    """
    summed: list[list[tuple[float, int]]] = [[] for _ in points]
    for depth in range(points.shape[1]):
        found = _distances([(f[:, depth], rows) for f, rows in tasks], points[:, depth], shrinkage)
        for x, (distances, so_far) in enumerate(zip(found, summed, strict=True)):
            summed[x] = [(d + (so_far[c][0] if so_far else 0), task) for c, (d, task) in enumerate(distances)]
    return [min(distances)[1] for distances in summed]


def _distances(
    tasks: Sequence[tuple[Array, Sequence[int]]], points: Array, shrinkage: float
) -> list[list[tuple[float, int]]]:
    """The distance of each point to each class, with the class's task, at one depth."""
    d, total = points.shape[1], sum(len(rows) for _, rows in tasks)
    means: list[tuple[int, Array]] = []
    covariance = np.zeros((d, d))
    for task, (features, rows) in enumerate(tasks):
        for c in sorted(set(rows)):
            own = [f for f, row in zip(features, rows, strict=True) if row == c]
            mean = np.array([sum(f[i] for f in own) / len(own) for i in range(d)])
            means.append((task, mean))
            for f in own:
                for i in range(d):
                    for j in range(d):
                        covariance[i, j] += (f[i] - mean[i]) * (f[j] - mean[j]) / total
    variance = sum(covariance[i, i] for i in range(d)) / d
    shrunk = np.array(
        [[(1 - shrinkage) * covariance[i, j] + shrinkage * variance * (i == j) for j in range(d)] for i in range(d)]
    )
    found = []
    for x in points:
        found.append([(float((x - mean) @ np.linalg.solve(shrunk, x - mean)), task) for task, mean in means])
    return found
