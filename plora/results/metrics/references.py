"""Metrics that compare a run with another one: joint training, or each task learned alone.

The matrices are those of `plora.results.record.matrix`; a reference is `[T]`, one accuracy per task in the same order,
on the same backbone, test splits and number of classes per head. Whether that holds is up to who names it. They may be
any score, see `plora.results.record.matrix_metrics`.
"""

from collections.abc import Sequence

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, checked, diagonal, require
from plora.results.record.matrix_metrics import oriented
from plora.results.record.score import Better


def intransigence_per_task(R: Matrix, joint: Sequence[float] | Matrix, better: Better = "higher") -> Matrix:
    """Return `[T]`: how far each task stays below a jointly trained network when it has just been learned.

        I_k = a*_k − R[k, k]

    Negative where learning in turn was better than learning jointly.

    Args:
        R: `[T + 1, T]` fractions.
        joint: `[T]` fractions, a*_k: the accuracy on task k of a network trained on tasks 1 … k at once.
            The last row of one joint run (trained on all T tasks) is a common substitute; say so where it is used.
        better: which way cells are better; where lower is, the difference is taken the other way round.

    Raises:
        MetricError: a cell of the diagonal is NaN, or the reference does not have T numbers.

    Source: Chaudhry et al. 2018 (RWalk, arXiv 1801.10112), who print I_T.
    """
    R = checked(R)
    T = R.shape[1]
    require("I", R, diagonal(T))
    return oriented(_checked_reference("I", joint, T), better) - oriented(R, better)[1:].diagonal()


def intransigence(R: Matrix, joint: Sequence[float] | Matrix, better: Better = "higher") -> float:
    """Return the mean of `intransigence_per_task`: what protecting the old costs when learning the new.

        I = 1/T Σ_k ( a*_k − R[k, k] )

    Args:
        R: `[T + 1, T]` fractions.
        joint, better: as in `intransigence_per_task`.

    Raises:
        MetricError: as `intransigence_per_task`.

    Source: Chaudhry et al. 2018 (RWalk, arXiv 1801.10112), here the mean over k; RWalk prints I_T alone.
    """
    return float(intransigence_per_task(R, joint, better).mean())


def forward_transfer_of_learning(R: Matrix, single: Sequence[float] | Matrix, better: Better = "higher") -> float:
    """Return how much better a task is learned after the others than alone: FWT_learn.

        FWT_learn = 1/T Σ_t ( R[t, t] − R_single[t] )

    Unlike FWT it has a meaning in every scenario.

    Args:
        R: `[T + 1, T]` fractions.
        single: `[T]` fractions, R_single[t]: the accuracy on task t of a network that learned task t alone.
        better: which way cells are better; where lower is, the difference is taken the other way round.

    Raises:
        MetricError: a cell of the diagonal is NaN, or the reference does not have T numbers.

    Source: Wang et al. 2023 (survey, arXiv 2302.00487), who call it FWT and leave task 1 out of the mean.
    """
    R = checked(R)
    T = R.shape[1]
    require("FWT_learn", R, diagonal(T))
    gains = oriented(R[1:].diagonal() - _checked_reference("FWT_learn", single, T), better)
    return float(gains.mean())


def _checked_reference(symbol: str, reference: Sequence[float] | Matrix, T: int) -> Matrix:
    values = np.asarray(reference, dtype=np.float64)
    if values.shape != (T,):
        raise MetricError(f"needs a reference of {T} accuracies, one per task, got shape {list(values.shape)}", symbol)
    if np.isnan(values).any():
        missing = int(np.argwhere(np.isnan(values))[0, 0]) + 1
        raise MetricError(f"needs the reference of task {missing}, which was not measured", symbol)
    return values
