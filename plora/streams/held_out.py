"""Which examples are held out, and which a cap keeps: per class those with the lowest keys, whatever their order."""

from collections.abc import Mapping
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import SPLITS, SplitName


class Labelled(Protocol):
    """Examples with a class each, which can be parted."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Return the class of each example, `[N]`."""

    def keys(self, seed: int) -> NDArray[np.uint64]:
        """Return a number per example, `[N]`, that its content and a seed decide."""

    def select(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the examples that are marked in `[N]`."""


_Labelled = TypeVar("_Labelled", bound=Labelled)


def all_splits(
    given: Mapping[SplitName, _Labelled],
    seed: int,
    fractions: Mapping[SplitName, float],
    caps: Mapping[SplitName, int | None],
) -> dict[SplitName, _Labelled]:
    """Return train, validation and test, each within its cap; those that are not given are cut from train.

    Args:
        given: the training split at least.
        seed: decides, with the content of the examples, which are cut.
        fractions: of `test` and `validation`: what is cut where there is no cap.
        caps: most examples of each class, by split; None: all.
    """
    splits = dict(given)
    cuts: tuple[tuple[SplitName, int | None], ...] = (("test", None), ("validation", caps["train"]))
    for split, used in cuts:
        if split not in splits:
            pool = splits["train"]
            held = held_out(pool.keys(seed), pool.labels, caps[split], fractions[split], used)
            splits["train"], splits[split] = pool.select(~held), pool.select(held)
    return {
        split: splits[split].select(capped(splits[split].keys(seed), splits[split].labels, caps[split]))
        for split in SPLITS
    }


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
