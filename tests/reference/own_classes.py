"""Slots that know the classes of their own steps: one pixel after the other, one class after the other."""

from collections.abc import Sequence


def united_pixel(shares: Sequence[Sequence[float]], own: Sequence[Sequence[int]], classes: int) -> list[float]:
    """The share of each class at one pixel; row 0 is the background.

    Args:
        shares: of each slot, its share of every class.
        own: of each slot, the rows that it has learned.
        classes: how many there are.
    """
    odds = [0.0] * classes
    odds[0] = 1.0
    for p, rows in zip(shares, own, strict=True):
        not_mine = 1.0 - sum(p[row] for row in rows if row != 0)
        for row in rows:
            if row != 0:
                odds[row] = p[row] / not_mine
    return [one / sum(odds) for one in odds]
