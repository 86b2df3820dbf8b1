"""Distillation one example at a time: what a teacher says, and how far a student is from it."""

import math
from collections.abc import Collection, Sequence


def softmax(scores: Sequence[float], among: Collection[int], temperature: float) -> dict[int, float]:
    """e^{z_k / τ} / Σ_j e^{z_j / τ} of each row k of those that compete."""
    powers = {row: math.exp(scores[row] / temperature) for row in among}
    return {row: power / sum(powers.values()) for row, power in powers.items()}


def distance(
    old: Sequence[float],
    old_among: Collection[int],
    new: Sequence[float],
    new_among: Collection[int],
    temperature: float,
) -> float:
    """τ² KL(softmax(z_old / τ) ‖ softmax(z / τ)) of one example; a row among which the teacher did not choose has 0."""
    teacher, student = softmax(old, old_among, temperature), softmax(new, new_among, temperature)
    total = 0.0
    for row, p in teacher.items():
        total += p * math.log(p / student[row])
    return temperature**2 * total


def without_forgetting(
    old: Sequence[Sequence[float]], new: Sequence[Sequence[float]], groups: Sequence[range], temperature: float
) -> float:
    """1/N Σ_n Σ_groups τ² KL, both choosing among the rows of the group."""
    total = 0.0
    for before, now in zip(old, new, strict=True):
        for group in groups:
            total += distance(before, group, now, group, temperature)
    return total / len(old)
