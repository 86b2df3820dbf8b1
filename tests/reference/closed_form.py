"""Closed-form heads computed from all examples at once."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ridge_weights(features: Array, labels: NDArray[np.int64], classes: int, strength: float) -> Array:
    """Solve (ΦᵀΦ + λ I) Wᵀ = Φᵀ Y with Φ = (features, 1), Y one-hot; returns W `[classes, d + 1]`."""
    design = np.column_stack([features, np.ones(len(features))])
    return np.linalg.solve(design.T @ design + strength * np.eye(design.shape[1]), design.T @ np.eye(classes)[labels]).T


def best_ridge(
    train: tuple[Array, NDArray[np.int64]], val: tuple[Array, NDArray[np.int64]], classes: int
) -> tuple[float, Array]:
    """λ of 10⁻⁸ … 10⁸ with the smallest squared error on the validation examples, and its weights."""
    design = np.column_stack([val[0], np.ones(len(val[0]))])
    best = (np.inf, 0.0, np.empty(0))
    for exponent in range(-8, 9):
        W = ridge_weights(*train, classes, 10.0**exponent)
        error = ((design @ W.T - np.eye(classes)[val[1]]) ** 2).mean()
        if error < best[0]:
            best = (error, 10.0**exponent, W)
    return best[1], best[2]


def ranpac_weights(
    features: Array, labels: NDArray[np.int64], classes: int, projection: Array, strength: float
) -> Array:
    """The same on Φ = relu(features Pᵀ), without a constant; returns W `[classes, k]`."""
    design = np.maximum(features @ projection.T, 0)
    return np.linalg.solve(design.T @ design + strength * np.eye(design.shape[1]), design.T @ np.eye(classes)[labels]).T


def cosine_to_means(features: Array, train: Array, labels: NDArray[np.int64], classes: int) -> Array:
    """cos(f, μ_c) with μ_c the mean of the training features of class c; `[N, classes]`."""
    scores = np.empty((len(features), classes))
    for c in range(classes):
        mean = train[labels == c].mean(axis=0)
        for n, f in enumerate(features):
            scores[n, c] = f @ mean / (np.linalg.norm(f) * np.linalg.norm(mean))
    return scores


def klda_scores(
    features: Array, train: Array, labels: NDArray[np.int64], projection: Array, bandwidth: float, shrinkage: float
) -> Array:
    """μ_cᵀ Σ⁻¹ φ − ½ μ_cᵀ Σ⁻¹ μ_c with φ of cosines and sines, one example and one class after the other."""

    def waves(f: Array) -> Array:
        angles = [float(row @ f) / bandwidth for row in projection]
        return np.array([*map(np.cos, angles), *map(np.sin, angles)]) / np.sqrt(len(projection))

    phi = np.array([waves(f) for f in train])
    means = [phi[labels == c].mean(axis=0) for c in range(labels.max() + 1)]
    covariance = np.zeros((phi.shape[1], phi.shape[1]))
    for one, label in zip(phi, labels, strict=True):
        covariance += np.outer(one - means[label], one - means[label]) / len(phi)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    inverse = np.linalg.inv(shrunk)
    return np.array([[m @ inverse @ waves(f) - 0.5 * m @ inverse @ m for m in means] for f in features])


def spread_projector(features: Array, labels: NDArray[np.int64], projection: Array, strength: float) -> Array:
    """Ridge regression from relu(P f) to targets: the centred class means, whitened by their own Gram matrix."""
    means = np.array([features[labels == c].mean(axis=0) for c in range(labels.max() + 1)])
    centred = means - means.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    root = sum(np.outer(v, v) / np.sqrt(s) for s, v in zip(values, vectors.T, strict=True) if s > 1e-9 * values.max())
    design = np.maximum(features @ projection.T, 0)
    gram = design.T @ design + strength * np.eye(design.shape[1])
    return np.linalg.solve(gram, design.T @ (root @ centred)[labels]).T
