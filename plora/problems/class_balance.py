"""Losses for classes of very different size: rare ones weigh more, and examples that are sure weigh less."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LEAST = 1e-6
"""Of 1 − p, where a power below 1 would have no slope."""


def class_weights(counts: NDArray[np.int64], beta: float) -> NDArray[np.float32]:
    """Return the weight of each class by its effective number of examples, E = (1 − βⁿ) / (1 − β).

        w_c = 1 / E_c, scaled so that the weights of the classes that there are have mean 1

    β = 0 gives 1 to each, β → 1 the inverse frequency; E never exceeds 1 / (1 − β), so beyond some times as many
    examples a class weighs as if it had no more.

    Args:
        counts: n, `[C]` examples of each class; a class without any weighs 0.
        beta: in [0, 1).

    Returns:
        `[C]`.

    Source: Cui et al. 2019 (arXiv 1901.05555).
    """
    n = counts.astype(np.float64)
    effective = n.clip(max=1) if beta == 0 else -np.expm1(n * np.log(beta)) / (1 - beta)
    inverse = np.divide(1, effective, out=np.zeros_like(n), where=n > 0)
    weights: NDArray[np.float32] = (inverse * np.count_nonzero(n) / max(inverse.sum(), 1e-300)).astype(np.float32)
    return weights


def weights_by_name(weights: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the weight of each class, `[C]`: the one that is told of its name, or 1.

    Args:
        weights: of some classes.
        names: of C classes.
    """
    return np.array([weights.get(name, 1.0) for name in names])


def focused(nats: Tensor, gamma: float) -> Tensor:
    """Return the focal loss (1 − p)^γ · (−log p) from −log p, in which p is that of the unweighted softmax.

    Args:
        nats: −log p of the true class, `[B]`.
        gamma: ≥ 0; 0 is the cross-entropy.

    Returns:
        `[B]`.

    Source: Lin et al. 2017 (arXiv 1708.02002), in the form for a softmax.
    """
    return nats if gamma == 0 else (-torch.expm1(-nats)).clamp_min(_LEAST) ** gamma * nats
