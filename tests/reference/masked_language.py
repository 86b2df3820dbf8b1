"""The fitted head the slow way: means and covariances as loops over places, and scipy's normal density."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

Array = NDArray[np.float64]


def head_scores(
    seen: list[tuple[Array, int]], embeddings: Array, places: list[Array], shrinkage: float, sharpness: float
) -> tuple[list[int], Array]:
    """Return the words that were seen, and β · log N(x; x̄ + M (e_v − ē), Σ) + log p(v) of each at each place.

    Args:
        seen: what was read at each masked place, `[D]`, and the word that stood there.
        embeddings: `[V, d]`.
        places: P of `[D]`, to score.
        shrinkage, sharpness: as in `FittedHead`.
    """
    n = len(seen)
    mean_x = sum(x for x, _ in seen) / n
    mean_e = sum(embeddings[word] for _, word in seen) / n
    xe, ee = np.zeros((len(mean_x), len(mean_e))), np.zeros((len(mean_e), len(mean_e)))
    for x, word in seen:
        xe += np.outer(x - mean_x, embeddings[word] - mean_e) / n
        ee += np.outer(embeddings[word] - mean_e, embeddings[word] - mean_e) / n
    M = xe @ np.linalg.inv(shrunk(ee, shrinkage))
    left = [x - mean_x - M @ (embeddings[word] - mean_e) for x, word in seen]
    covariance = shrunk(sum(np.outer(rest, rest) for rest in left) / n, shrinkage)
    words = sorted({word for _, word in seen})
    shares = [sum(word == other for _, other in seen) / n for word in words]
    scores = [
        [
            sharpness * multivariate_normal(mean_x + M @ (embeddings[word] - mean_e), covariance).logpdf(x) + np.log(p)
            for word, p in zip(words, shares, strict=True)
        ]
        for x in places
    ]
    return words, np.array(scores)


def shrunk(matrix: Array, shrinkage: float) -> Array:
    return matrix + shrinkage * np.diag(matrix).mean() * np.eye(len(matrix))
