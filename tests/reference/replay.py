"""Experience replay one example at a time: what a buffer keeps, and the two terms of the loss."""

import math
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction


def reservoir(count: int, capacity: int) -> dict[frozenset[int], Fraction]:
    """The sets that algorithm R may keep of `count` examples, with their probabilities: all its choices are tried.

    The n-th example is stored while there is room; after that it takes a random place with probability M / n.
    """
    states: dict[tuple[int, ...], Fraction] = {(): Fraction(1)}
    for n in range(1, count + 1):
        after: dict[tuple[int, ...], Fraction] = {}
        for kept, p in states.items():
            if n <= capacity:
                choices = {(*kept, n - 1): p}
            else:
                choices = {kept: p * (1 - Fraction(capacity, n))}
                for place in range(capacity):
                    replaced = (*kept[:place], n - 1, *kept[place + 1 :])
                    choices[replaced] = p * Fraction(capacity, n) / capacity
            for state, chance in choices.items():
                after[state] = after.get(state, Fraction(0)) + chance
        states = after
    found: dict[frozenset[int], Fraction] = {}
    for kept, p in states.items():
        found[frozenset(kept)] = found.get(frozenset(kept), Fraction(0)) + p
    return found


def smallest(keys: Sequence[float], capacity: int) -> list[int]:
    """Those that stay when each example offered has a number and, where there is no room, the largest number leaves."""
    kept: list[int] = []
    for example in range(len(keys)):
        kept.append(example)
        if len(kept) > capacity:
            kept.remove(max(kept, key=lambda one: keys[one]))
    return kept


def cross_entropy(scores: Sequence[float], row: int, among: Collection[int]) -> float:
    """− log (e^{z_row} / Σ_k e^{z_k}), k among the rows that compete."""
    total = 0.0
    for k in among:
        total += math.exp(scores[k])
    return -math.log(math.exp(scores[row]) / total)


def distance(scores: Sequence[float], old: Mapping[int, float]) -> float:
    """1/K Σ_k (z_k − z'_k)² over the K rows among which the example was classified when it came in, z' its scores."""
    total = 0.0
    for k, before in old.items():
        total += (scores[k] - before) ** 2
    return total / len(old)
