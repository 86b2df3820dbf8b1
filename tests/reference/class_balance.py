"""The class-balanced focal loss as slowly and plainly as it can be written: one example, one class at a time."""

import math
from collections.abc import Sequence


def weights(counts: Sequence[int], beta: float) -> list[float]:
    """1 / Σ_{i<n} β^i of each class, scaled to mean 1 over those that have examples; 0 for one without."""
    effective = [sum(beta**i for i in range(n)) for n in counts]
    inverse = [1 / e if n else 0.0 for e, n in zip(effective, counts, strict=True)]
    there = sum(1 for n in counts if n)
    return [one * there / sum(inverse) for one in inverse]


def loss(scores: Sequence[float], label: int, competing: Sequence[bool], weight: float, gamma: float) -> float:
    """−w (1 − p)^γ log p, p the softmax over the classes that compete."""
    powers = [math.exp(z) if competes else 0.0 for z, competes in zip(scores, competing, strict=True)]
    p = powers[label] / sum(powers)
    return -weight * (1 - p) ** gamma * math.log(p)
