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


class Sizes(Protocol):
    """Settings of a stream that say how many examples of each class its splits have."""

    @property
    def split_seed(self) -> int:
        """Decides, with the content of the examples, which are cut."""

    @property
    def train_per_class(self) -> int | None:
        """Most training examples of each class; None: all."""

    @property
    def validation_per_class(self) -> int | None:
        """Most validation examples of each class; None: all that are given, else the fraction."""

    @property
    def validation_fraction(self) -> float:
        """Share of the training examples of each class."""

    @property
    def test_per_class(self) -> int | None:
        """Most test examples of each class; None: all that are given, else the fraction."""

    @property
    def test_fraction(self) -> float:
        """Share of the examples of each class."""


_Labelled = TypeVar("_Labelled", bound=Labelled)


def all_splits(given: Mapping[SplitName, _Labelled], sizes: Sizes) -> dict[SplitName, _Labelled]:
    """Return train, validation and test, each within its cap; those that are not given are cut from train.

    Args:
        given: the training split at least.
        sizes: of the splits.
    """
    return splits_of_tasks({"": given}, sizes)[""]


def splits_of_tasks(
    given: Mapping[str, Mapping[SplitName, _Labelled]], sizes: Sizes
) -> dict[str, dict[SplitName, _Labelled]]:
    """Return what `all_splits` does, for each task: what is held out of one is in the training split of none.

    Args:
        given: of each task the training split at least; each split of all tasks or of none.
        sizes: of the splits of a task.
    """
    tasks, seed = {task: dict(own) for task, own in given.items()}, sizes.split_seed
    cuts: tuple[tuple[SplitName, int | None, float, int | None], ...] = (
        ("test", sizes.test_per_class, sizes.test_fraction, None),
        ("validation", sizes.validation_per_class, sizes.validation_fraction, sizes.train_per_class),
    )
    for split, wanted, fraction, cap in cuts:
        pools = {task: own["train"] for task, own in tasks.items() if split not in own}
        keys, held = {task: pool.keys(seed) for task, pool in pools.items()}, set[int]()
        for task, pool in pools.items():
            held |= {*keys[task][held_out(keys[task], pool.labels, wanted, fraction, cap)].tolist()}
        for task, pool in pools.items():
            out = np.isin(keys[task], np.array(sorted(held), dtype=np.uint64))
            tasks[task]["train"], tasks[task][split] = pool.select(~out), pool.select(out)
    caps = {"train": sizes.train_per_class, "validation": sizes.validation_per_class, "test": sizes.test_per_class}
    return {
        task: {
            split: own[split].select(capped(own[split].keys(seed), own[split].labels, caps[split])) for split in SPLITS
        }
        for task, own in tasks.items()
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
