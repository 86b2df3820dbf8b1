"""Which examples are held out, and which a cap keeps: per class those with the lowest keys, whatever their order."""

import numpy as np
from numpy.typing import NDArray


def held_out(
    keys: NDArray[np.uint64], labels: NDArray[np.int64], wanted: int | None, fraction: float, cap: int | None
) -> NDArray[np.bool_]:
    """Mark the examples to hold out, `[N]`: at least one of each class, and never a class's last one.

    Args:
        keys: `[N]` of the content of each; equal ones go together, also across classes.
        labels: `[N]`.
        wanted: of each class, at most half of it; None takes the fraction.
        fraction: of each class (of `cap`, where that is less).
        cap: how many of a class will be used at most; None for all.
    """
    held: set[int] = set()
    for label in np.unique(labels).tolist():
        own, counts = np.unique(keys[labels == label], return_counts=True)
        rows = int(counts.sum())
        share = fraction * min(rows, rows if cap is None else cap)
        target = max(1, round(share) if wanted is None else min(wanted, rows // 2))
        count = 0
        for key, repeats in zip(own[:-1].tolist(), counts[:-1].tolist(), strict=True):
            if count >= target:
                break
            held.add(key)
            count += repeats
    return np.isin(keys, np.array(sorted(held), dtype=np.uint64))


def capped(keys: NDArray[np.uint64], labels: NDArray[np.int64], cap: int | None) -> NDArray[np.bool_]:
    """Mark at most `cap` examples of each class, `[N]`; None marks all."""
    chosen = np.full(len(keys), cap is None)
    if cap is not None:
        for label in np.unique(labels):
            places = np.flatnonzero(labels == label)
            chosen[places[np.argsort(keys[places], kind="stable")[:cap]]] = True
    return chosen
