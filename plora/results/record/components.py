"""Outliers as objects: which connected components are found, and how much of what is taken for one is one.

    sIoU of a true component k = |k ∩ K̂| / |(k ∪ K̂) \\ A|
    PPV of a component that is seen = share of its pixels that are of a true one

K̂ are the components seen that meet k, and A the pixels of the other true components: two objects under one that is seen
are not held against each other. Components are 8-connected.

    F1 at τ = 2 TP / (2 TP + FN + FP)        F1* = mean over τ = 0.25, 0.30, …, 0.75

with TP the true components of sIoU > τ, FN the others, and FP those seen of PPV ≤ τ.

Source: Chan et al. 2021 (SegmentMeIfYouCan, arXiv 2104.14812), section 4.
"""

import numpy as np
from numpy.typing import NDArray

from plora.results.record.matrix import Matrix

LEVELS = np.arange(25, 80, 5) / 100
"""Every τ."""
WIDTH = 4 + 2 * len(LEVELS)
"""Numbers that are kept of an image."""


def component_counts(true: NDArray[np.bool_], seen: NDArray[np.bool_]) -> Matrix:
    """Return of one image, `[WIDTH]`: true components, Σ sIoU, components seen, Σ PPV, TP at each τ, FP at each τ.

    Args:
        true, seen: `[H, W]`, which pixels are outliers, and which are taken for some.
    """
    from scipy import ndimage

    around = np.ones((3, 3), np.bool_)
    (of_true, T), (of_seen, S) = (ndimage.label(one, around) for one in (true, seen))
    both = np.bincount(of_true.ravel() * (S + 1) + of_seen.ravel(), minlength=(T + 1) * (S + 1)).reshape(T + 1, S + 1)
    sizes = both.sum(axis=0)[1:]
    shared = both[1:, 1:].astype(np.float64)  # pixels of each true component in each that is seen
    within = shared.sum(axis=0)
    meets = shared > 0
    hits = shared.sum(axis=1)
    others = meets @ within - hits  # A in K̂, and no pixel of A is in k
    siou = hits / (both.sum(axis=1)[1:] + meets @ sizes - hits - others)
    ppv = within / sizes
    found = (siou[:, None] > LEVELS).sum(axis=0)
    false = (ppv[:, None] <= LEVELS).sum(axis=0)
    return np.concatenate([[T, siou.sum(), S, ppv.sum()], found, false]).astype(np.float64)


def component_f1(counts: Matrix) -> float:
    """Return F1*; NaN where there is no component at all.

    Args:
        counts: `[N, WIDTH]` of each image, as `component_counts` gives them; they count together.
    """
    true, _, seen, _, *levels = counts.sum(axis=0)
    if not true + seen:
        return float("nan")
    found, false = np.array(levels).reshape(2, -1)
    return float((2 * found / (true + found + false)).mean())


def component_siou(counts: Matrix) -> float:
    """Return the mean sIoU of the true components; NaN where there are none."""
    return float(counts[:, 1].sum() / counts[:, 0].sum()) if counts[:, 0].any() else float("nan")


def component_ppv(counts: Matrix) -> float:
    """Return the mean PPV of the components seen; NaN where there are none."""
    return float(counts[:, 3].sum() / counts[:, 2].sum()) if counts[:, 2].any() else float("nan")
