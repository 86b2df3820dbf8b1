"""Accuracies that pool the test examples of all tasks, so that a task counts by its size: the convention of
class-incremental papers."""

from collections.abc import Sequence

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, checked, require


def pooled_seen_accuracy(R: Matrix, sizes: Sequence[int]) -> Matrix:
    """Return `[T]`: the share of right predictions among all test examples of tasks 1 … t, after task t.

        A_t = Σ_{j≤t} n_j R[t, j] / Σ_{j≤t} n_j

    NaN where one of its cells is NaN.

    Args:
        R: `[T + 1, T]` fractions, see `plora.results.record.matrix`.
        sizes: n_j, the number of test examples of each task, in the order of the columns.

    Raises:
        MetricError: `R` is not an accuracy matrix, or `sizes` does not hold T positive whole numbers.

    Source: Rebuffi et al. 2017 (iCaRL, arXiv 1611.07725): accuracy over the test examples of all classes seen.
    """
    R = checked(R)
    n = _checked_sizes(sizes, R.shape[1])
    return np.array([(R[t, :t] * n[:t]).sum() / n[:t].sum() for t in range(1, len(R))])


def pooled_accuracy(R: Matrix, sizes: Sequence[int]) -> float:
    """Return the share of right predictions among the test examples of all tasks after the last one.

        ACC_pooled = Σ_j n_j R[T, j] / Σ_j n_j

    Equal to ACC when all test splits have one size.

    Args:
        R: `[T + 1, T]` fractions.
        sizes: n_j, the number of test examples of each task.

    Raises:
        MetricError: as `pooled_seen_accuracy`, or a cell of the last row is NaN.

    Source: "last accuracy" of PyCIL and other class-incremental code.
    """
    R = checked(R)
    needed = np.zeros(R.shape, dtype=bool)
    needed[-1] = True
    require("ACC pooled", R, needed)
    return float(pooled_seen_accuracy(R, sizes)[-1])


def pooled_average_incremental_accuracy(R: Matrix, sizes: Sequence[int]) -> float:
    """Return the mean, over the tasks learned, of the accuracy over all test examples seen so far.

        AIA_pooled = 1/T Σ_t A_t        A_t = Σ_{j≤t} n_j R[t, j] / Σ_{j≤t} n_j

    Equal to AIA when all test splits have one size.

    Args:
        R: `[T + 1, T]` fractions.
        sizes: n_j, the number of test examples of each task.

    Raises:
        MetricError: as `pooled_seen_accuracy`, or a cell on or below the diagonal is NaN.

    Source: Rebuffi et al. 2017 (iCaRL, arXiv 1611.07725); PyCIL's "average accuracy", SD-LoRA's "AAA".
    """
    R = checked(R)
    require("AIA pooled", R, np.tri(len(R), R.shape[1], k=-1, dtype=bool))
    return float(pooled_seen_accuracy(R, sizes).mean())


def _checked_sizes(sizes: Sequence[int], T: int) -> Matrix:
    if len(sizes) != T:
        raise MetricError(f"{len(sizes)} test sizes for {T} tasks; give one per task, in the order of the columns")
    if any(size != int(size) or size < 1 for size in sizes):
        raise MetricError(f"a test size is a whole number from 1, got {list(sizes)}")
    return np.asarray(sizes, dtype=np.float64)
