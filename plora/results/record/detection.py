"""How well a score tells outliers from inliers, from histograms of both: of each threshold between two bins."""

import numpy as np
from numpy.typing import NDArray

from plora.results.record.matrix import Matrix

RECALL = 0.95
"""Share of the outliers that are found where false alarms are counted."""
Histogram = NDArray[np.int64]


def auroc(inlier: Histogram, outlier: Histogram) -> float:
    """Return P(outlier > inlier) + ½ P(same bin); NaN where there are none of one kind.

    Args:
        inlier, outlier: `[bins]` how many have a score in each bin, low scores first.
    """
    if not _both(inlier, outlier):
        return float("nan")
    inside, outside = inlier.astype(np.float64), outlier.astype(np.float64)
    below = np.cumsum(inside) - inside
    return float((outside * (below + inside / 2)).sum() / (inside.sum() * outside.sum()))


def average_precision(inlier: Histogram, outlier: Histogram) -> float:
    """Return AP = Σ_n (R_n − R_{n−1}) P_n over thresholds from the highest bin down; NaN where there are none of one
    kind.

    Args:
        inlier, outlier: as `auroc` has them.
    """
    if not _both(inlier, outlier):
        return float("nan")
    found, alarms = _above(outlier), _above(inlier)
    precision = np.divide(found, found + alarms, out=np.zeros_like(found), where=found + alarms > 0)
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


def false_alarms(inlier: Histogram, outlier: Histogram) -> float:
    """Return the share of inliers above the highest threshold that finds 95 % of the outliers; NaN where there are none
    of one kind.

    Within a bin both are taken as evenly spread, as for the AUROC: the curve of false alarms over recall is straight.

    Args:
        inlier, outlier: as `auroc` has them.
    """
    if not _both(inlier, outlier):
        return float("nan")
    found, alarms = _above(outlier), _above(inlier)
    reached = int(np.argmax(found >= RECALL * found[-1]))
    before, alarms_before = (found[reached - 1], alarms[reached - 1]) if reached else (0.0, 0.0)
    share = (RECALL * found[-1] - before) / (found[reached] - before)
    return float((alarms_before + share * (alarms[reached] - alarms_before)) / alarms[-1])


def _both(inlier: Histogram, outlier: Histogram) -> bool:
    return bool(inlier.sum() and outlier.sum())


def _above(histogram: Histogram) -> Matrix:
    """How many are at or above each threshold, the highest first."""
    return np.cumsum(histogram[::-1]).astype(np.float64)
