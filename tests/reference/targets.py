"""Losses of label sets and numbers, and thresholds, one after the other in plain Python."""

import math
from collections.abc import Sequence
from itertools import pairwise


def label_loss(z: float, true: bool, weight: float = 1.0, gamma: float = 0.0) -> float:
    """− w (1 − p)^γ log p of one label."""
    p = 1 / (1 + math.exp(-z))
    p = p if true else 1 - p
    return -weight * (1 - p) ** gamma * math.log(p)


def number_loss(z: float, y: float, targets: Sequence[float]) -> float:
    """((z − y) / σ)², σ of the targets of a split."""
    mean = sum(targets) / len(targets)
    variance = sum((one - mean) ** 2 for one in targets) / len(targets)
    return (z - y) ** 2 / (variance or 1.0)


def f1(truth: Sequence[bool], given: Sequence[bool]) -> float:
    """2 TP / (2 TP + FP + FN); 0 where there is none."""
    hits = sum(a and b for a, b in zip(truth, given, strict=True))
    whole = sum(truth) + sum(given)
    return 2 * hits / whole if whole else 0.0


def threshold(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """The threshold half-way between two scores, or below all, with the largest F1; the nearest to 0 of several."""
    if not any(truth):
        return 0.0
    ordered = sorted(set(scores))
    tried = [(low + high) / 2 for low, high in pairwise(ordered)] + [ordered[0] - 0.5]
    found = {t: f1(truth, [z >= t for z in scores]) for t in tried}
    best = max(found.values())
    return min((t for t, value in found.items() if value == best), key=abs)
