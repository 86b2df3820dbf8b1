"""Several language models as one, token by token."""

import math
from collections.abc import Sequence


def nats_of_mixture(each: Sequence[Sequence[float]]) -> float:
    """− Σ_t log Σ_k w_k p_k(x_t | x_<t), w_k ∝ p_k(x_<t), from K times T values − log p_k(x_t | x_<t)."""
    weights, total = [1 / len(each)] * len(each), 0.0
    for now in zip(*each, strict=True):
        joint = [weight * math.exp(-nats) for weight, nats in zip(weights, now, strict=True)]
        total -= math.log(sum(joint))
        weights = [one / sum(joint) for one in joint]
    return total
