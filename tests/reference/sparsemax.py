"""Sparsemax and its derivative as loops over one list of numbers, in exact fractions."""

from collections.abc import Sequence
from fractions import Fraction


def sparsemax(logits: Sequence[float], mask: Sequence[bool] | None = None) -> list[Fraction]:
    """The threshold by trying every size of the support, the largest that keeps all of it positive."""
    taken = [Fraction(z) for z, inside in zip(logits, mask or [True] * len(logits), strict=True) if inside]
    falling = sorted(taken, reverse=True)
    threshold = Fraction(0)
    for k in range(1, len(falling) + 1):
        if 1 + k * falling[k - 1] > sum(falling[:k]):
            threshold = (sum(falling[:k], Fraction(0)) - 1) / k
    found = []
    for z, inside in zip(logits, mask or [True] * len(logits), strict=True):
        found.append(max(Fraction(z) - threshold, Fraction(0)) if inside else Fraction(0))
    return found


def vector_jacobian(shares: Sequence[Fraction], gradient: Sequence[float]) -> list[Fraction]:
    """(Diag(s) − s sᵀ / |S|) g, entry by entry."""
    support = [share > 0 for share in shares]
    found = []
    for i, inside in enumerate(support):
        total = Fraction(0)
        for j, other in enumerate(support):
            entry = Fraction(int(inside and i == j)) - Fraction(int(inside) * int(other), sum(support))
            total += entry * Fraction(gradient[j])
        found.append(total)
    return found
