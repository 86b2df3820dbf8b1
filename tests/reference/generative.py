"""Generative replay text by text: its term, and how likely each text is drawn."""

from collections.abc import Collection, Sequence
from fractions import Fraction

from reference.distillation import distance, softmax


def surest(old: Sequence[float], group: Collection[int]) -> int:
    """The row of its group that the teacher gives most probability."""
    said = softmax(old, group, 1.0)
    return max(said, key=lambda row: said[row])


def rehearsed(
    old: Sequence[float], new: Sequence[float], group: Collection[int], competing: Collection[int], temperature: float
) -> float:
    """τ² KL(softmax(z_old / τ) ‖ softmax(z / τ)) of one text.

    Args:
        old: scores of the teacher, which chooses among the rows of its group.
        new: scores of the student, which chooses among those and the ones that compete now.
        group: old rows that are classified among each other.
        competing: rows among which an example of the text's row is classified now.
        temperature: τ.
    """
    return distance(old, group, new, {*group, *competing}, temperature)


def chances(classes: Sequence[int]) -> list[Fraction]:
    """1 / (C n_c) of each text: first one of C classes, then one of its n_c texts."""
    every = set(classes)
    return [Fraction(1, len(every)) / sum(other == one for other in classes) for one in classes]
