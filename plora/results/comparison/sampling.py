"""How far a number may be from that of other test examples of the same kind: what a small test set leaves open.

Not how far runs differ: that is the interval over seeds, see `plora.results.comparison.statistics`. All seeds are
scored on the same test examples, so more seeds make this interval no smaller.
"""

from collections.abc import Sequence

import numpy as np

from plora.results.record.matrix import Matrix
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(shares: Matrix, sizes: Sequence[int]) -> Matrix:
    """Return `[T, 2]`: Wilson's interval at 95 % of each accuracy, from the number of test examples.

        (p + z²/2n ± z √( p(1 − p)/n + z²/4n² )) / (1 + z²/n)

    Args:
        shares: `[T]` fractions p.
        sizes: n of each, at least 1.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    n = np.asarray(sizes, dtype=np.float64)
    middle = shares + Z**2 / (2 * n)
    half = Z * np.sqrt(shares * (1 - shares) / n + Z**2 / (4 * n**2))
    return np.stack([middle - half, middle + half], axis=1) / (1 + Z**2 / n)[:, None]


def mean_interval(shares: Matrix, sizes: Sequence[int]) -> tuple[float, float]:
    """Return the interval at 95 % of the mean of T accuracies on test sets of their own: Wilson's, joined (MOVER).

        mean − 1/T √Σ (p_j − l_j)²    to    mean + 1/T √Σ (u_j − p_j)²

    Args:
        shares: `[T]` fractions p_j.
        sizes: n_j, the number of test examples of each.

    Source: Zou and Donner (2008), Construction of confidence limits about effect measures.
    """
    bounds = wilson(shares, sizes)
    low, high = np.sqrt(((bounds - shares[:, None]) ** 2).sum(axis=0)) / len(shares)
    return float(shares.mean() - low), float(shares.mean() + high)


def size_interval(records: Sequence[RunRecord]) -> tuple[float, float] | None:
    """Return the interval of ACC that follows from the number of test examples, of the mean over some runs.

    Args:
        records: runs of one method on the same test examples.

    Returns:
        None of another score than accuracy, or where a task was not learned or scored.
    """
    first = records[0]
    order = [[record.tasks.index(task) for task in first.tasks] for record in records]  # of runs in other orders
    last = np.mean([record.matrix[-1][at] for record, at in zip(records, order, strict=True)], axis=0)
    sizes = first.sizes
    if first.score != ACCURACY or sizes is None or min(sizes) < 1 or np.isnan(last).any():
        return None
    return mean_interval(last, sizes)
