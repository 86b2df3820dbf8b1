"""What other toolkits print under the names of our metrics, each formula under the name of who prints it.

None of these is ours: they exist so that a number of a paper or a log can be compared with the right formula.
All take the matrix of `plora.results.record.matrix` (`[T + 1, T]`, fractions) and count tasks from 1; units as there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, at_least_two, checked, diagonal, require
from plora.results.record.matrix_metrics import backward_transfer, forward_transfer, oriented, summary
from plora.results.record.score import ACCURACY, Score
from plora.streams.base import Scenario


def forgetting_over_all_rows(R: Matrix) -> float:
    """Return forgetting with the maximum over row T too; never negative, so a task that got better counts 0.

        1/(T−1) Σ_{j<T} ( max_{1≤l≤T} R[l, j] − R[T, j] )

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there is one task only, or a cell on or below the diagonal is NaN.

    Source: the code of PyCIL, Mammoth and SD-LoRA.
    """
    R = checked(R)
    T = at_least_two("F", R)
    needed = np.tri(T + 1, T, k=-1, dtype=bool)
    needed[:, -1] = False
    require("F", R, needed)
    return float((np.nanmax(R[1:, :-1], axis=0) - R[-1, :-1]).mean())


def forgetting_initial_minus_last(R: Matrix) -> float:
    """Return forgetting from the accuracy just after learning, not from the best one: −BWT.

        1/(T−1) Σ_{j<T} ( R[j, j] − R[T, j] )

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there is one task only, or a cell of the diagonal or of the last row is NaN.

    Source: the code of Avalanche.
    """
    return -backward_transfer(R)


def forgetting_without_two_tasks(R: Matrix) -> float:
    """Return forgetting from the accuracy just after learning, the last two tasks left out of the sum.

        1/(T−1) Σ_{j≤T−2} ( R[j, j] − R[T, j] )

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there are fewer than three tasks, or a cell that the formula names is NaN.

    Source: the code of LibContinual (`compute_frgt`), which divides T − 2 terms by T − 1.
    """
    R = checked(R)
    T = _at_least_three("F", R)
    needed = diagonal(T)
    needed[-1] = True
    needed[:, -2:] = False
    require("F", R, needed)
    return float((R[1:].diagonal()[:-2] - R[-1, :-2]).sum() / (T - 1))


def forgetting_between_rows(R: Matrix) -> float:
    """Return the mean drop between consecutive rows; a long slow decline looks small.

        1/(T−1) Σ_{t=2..T} 1/(t−1) Σ_{j<t} ( R[t−1, j] − R[t, j] )

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there is one task only, or a cell on or below the diagonal is NaN.

    Source: the code of CODA-Prompt (`calc_forgetting`).
    """
    R = checked(R)
    T = at_least_two("F", R)
    needed = np.tri(T + 1, T, k=-1, dtype=bool)
    needed[:, -1] = False
    require("F", R, needed)
    return float(np.mean([(R[t - 1, : t - 1] - R[t, : t - 1]).mean() for t in range(2, T + 1)]))


def backward_transfer_over_tasks(R: Matrix) -> float:
    """Return BWT divided by T; the term of the last task is 0.

        1/T Σ_j ( R[T, j] − R[j, j] ) = (T−1)/T · BWT

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: as `backward_transfer`.

    Source: the code of GEM (its paper divides by T − 1).
    """
    T = checked(R).shape[1]
    return float(backward_transfer(R) * (T - 1) / T)


def backward_transfer_over_rows(R: Matrix) -> float:
    """Return the mean change over all rows, not the last alone, the newest older task of each row left out.

        2/(T(T−1)) Σ_{i=3..T} Σ_{j≤i−2} ( R[i, j] − R[j, j] )

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there are fewer than three tasks, or a cell that the formula names is NaN.

    Source: the code of LibContinual (`compute_bwt`), after Díaz-Rodríguez et al. 2018 (arXiv 1810.13166),
    who sum over j ≤ i − 1. It divides (T−1)(T−2)/2 terms by T(T−1)/2.
    """
    R = checked(R)
    T = _at_least_three("BWT", R)
    summed = np.tri(T + 1, T, k=-3, dtype=bool)  # R[i, j] with j ≤ i − 2 stands at [i, j − 1]
    needed = summed | diagonal(T)
    needed[:, -2:] = False
    require("BWT", R, needed)
    changes = R - R[1:].diagonal()
    return float(changes[summed].sum() * 2 / (T * (T - 1)))


def forward_transfer_over_tasks(R: Matrix) -> float:
    """Return FWT divided by T; the term of the first task is 0.

        1/T Σ_{j≥2} ( R[j−1, j] − R[0, j] ) = (T−1)/T · FWT

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: as `forward_transfer`.

    Source: the code of GEM (its paper divides by T − 1).
    """
    T = checked(R).shape[1]
    return float(forward_transfer(R) * (T - 1) / T)


def forward_transfer_trained_baseline(R: Matrix) -> float:
    """Return 0: FWT whose "untrained" baseline of task j is measured on the network trained on tasks 1 … j−1.

        1/(T−1) Σ_{j≥2} ( R[j−1, j] − R[j−1, j] )

    An artefact: it says nothing about transfer.

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there is one task only.

    Source: the code of Mammoth (the baseline is taken just before task j is learned).
    """
    at_least_two("FWT", checked(R))
    return 0.0


def forward_transfer_of_zeros(R: Matrix) -> float:
    """Return −0.5: FWT where cells that were not measured are 0 and the baseline is a constant 0.5.

        1/(T−1) Σ_{j≥2} ( 0 − 0.5 )

    An artefact: it says nothing about transfer.

    Args:
        R: `[T + 1, T]` fractions.

    Raises:
        MetricError: there is one task only.

    Source: scripts that start from a matrix of zeros and evaluate only the tasks seen.
    """
    at_least_two("FWT", checked(R))
    return -0.5


@dataclass(frozen=True)
class Variant:
    """What others print under the name of one of our metrics, for one matrix.

    Args:
        name: its key, e.g. `forgetting_over_all_rows`.
        metric: the key of our metric of that name, e.g. `forgetting`.
        symbol: of our metric.
        printed_by: who prints it.
        formula: in one line.
        value: a fraction, or None when it has no value.
        difference: value minus ours, a fraction; None when one of both has no value.
        reason: why there is no value; None when there is one.
        artefact: the number says nothing about what was learned.
    """

    name: str
    metric: str
    symbol: str
    printed_by: str
    formula: str
    value: float | None
    difference: float | None
    reason: str | None = None
    artefact: bool = False


@dataclass(frozen=True)
class _Definition:
    function: Callable[[Matrix], float]
    metric: str
    printed_by: str
    formula: str
    artefact: bool = False


VARIANTS = (
    _Definition(
        forgetting_over_all_rows,
        "forgetting",
        "PyCIL, Mammoth, SD-LoRA",
        "mean over j < T of (max over l ≤ T of R[l,j]) − R[T,j]",
    ),
    _Definition(forgetting_initial_minus_last, "forgetting", "Avalanche", "mean over j < T of R[j,j] − R[T,j]"),
    _Definition(
        forgetting_without_two_tasks,
        "forgetting",
        "LibContinual",
        "sum over j ≤ T−2 of R[j,j] − R[T,j], divided by T−1",
    ),
    _Definition(
        forgetting_between_rows,
        "forgetting",
        "CODA-Prompt",
        "mean over t ≥ 2 of the mean over j < t of R[t−1,j] − R[t,j]",
    ),
    _Definition(
        backward_transfer_over_tasks,
        "backward_transfer",
        "GEM's code",
        "sum over j of R[T,j] − R[j,j], divided by T",
    ),
    _Definition(
        backward_transfer_over_rows,
        "backward_transfer",
        "LibContinual",
        "sum over i and j ≤ i−2 of R[i,j] − R[j,j], divided by T(T−1)/2",
    ),
    _Definition(
        forward_transfer_over_tasks,
        "forward_transfer",
        "GEM's code",
        "sum over j ≥ 2 of R[j−1,j] − R[0,j], divided by T",
    ),
    _Definition(
        forward_transfer_trained_baseline,
        "forward_transfer",
        "Mammoth",
        "baseline measured on the network trained on tasks 1 … j−1: 0 by construction",
        artefact=True,
    ),
    _Definition(
        forward_transfer_of_zeros,
        "forward_transfer",
        "zeros for unmeasured cells",
        "R[j−1,j] = 0 and a baseline of 0.5: −50 by construction",
        artefact=True,
    ),
)
"""Every variant of `variants`, in the order in which tables show them."""


def variants(R: Matrix, scenario: Scenario | None, score: Score = ACCURACY) -> tuple[Variant, ...]:
    """Return what others would print for `R`, with the difference from our metric of the same name.

    Args:
        R: `[T + 1, T]`.
        scenario, score: as in `summary`; where lower is better, all formulas are those of −R.

    Raises:
        MetricError: `R` is not an accuracy matrix.
    """
    ours, R = summary(R, scenario, score), oriented(R, score.better)
    found = []
    for definition in VARIANTS:
        if definition.function is forward_transfer_of_zeros and score != ACCURACY:
            continue  # its baseline is an accuracy
        own = ours[definition.metric]
        value, reason = None, None
        if definition.metric == "forward_transfer" and own.reason and not definition.artefact:
            reason = own.reason
        else:
            try:
                value = definition.function(R)
            except MetricError as error:
                reason = error.reason
        difference = None if value is None or own.value is None else value - own.value
        found.append(
            Variant(
                definition.function.__name__,
                definition.metric,
                own.symbol,
                definition.printed_by,
                definition.formula,
                value,
                difference,
                reason,
                definition.artefact,
            )
        )
    return tuple(found)


def _at_least_three(symbol: str, R: Matrix) -> int:
    T = int(R.shape[1])
    if T < 3:
        raise MetricError("leaves out two tasks, so there must be at least three", symbol)
    return T
