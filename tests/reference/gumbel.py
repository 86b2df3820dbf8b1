"""The Gumbel-Sparsemax gate as loops over one layer's slots."""

import math
from collections.abc import Sequence

from reference.sparsemax import sparsemax


def shares(logits: Sequence[float], uniform: Sequence[float] | None, temperature: float) -> list[float]:
    """sparsemax((ℓ + g) / τ) with g = −log(−log u), or without noise."""
    moved = []
    for k, logit in enumerate(logits):
        noise = 0.0
        if uniform is not None:
            noise = -math.log(-math.log(min(max(uniform[k], 1e-10), 1 - 1e-10)))
        moved.append((logit + noise) / temperature)
    return [float(share) for share in sparsemax(moved)]


def entropy(layers: Sequence[Sequence[float]]) -> float:
    """−Σ_k β_k log β_k, mean over layers; 0 log 0 is 0."""
    total = 0.0
    for of_layer in layers:
        for share in of_layer:
            total -= share * math.log(share) if share > 0 else 0.0
    return total / len(layers)


def temperature(first: float, last: float, rho: float | None, done: int, of: int) -> float:
    """τ after `done` of `of` steps or epochs; each leaves ρ of the way, and None a hundredth of it in all."""
    left = 1.0
    for _ in range(done):
        left *= math.exp(math.log(0.01) / of) if rho is None else rho
    return last + (first - last) * left
