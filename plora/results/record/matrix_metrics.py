"""Continual-learning metrics as pure functions of one accuracy matrix, see `plora.results.record.matrix`.

Most published toolkits print different numbers under the same names; each docstring says where.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, at_least_two, checked, diagonal, require
from plora.streams.base import Scenario


@dataclass(frozen=True)
class Metric:
    """One metric of one run.

    Args:
        name: its key, e.g. `backward_transfer`.
        symbol: its short form for table heads, e.g. `BWT`.
        title: in plain words.
        definition: one sentence with the formula.
        value: a fraction (0.5 is 50 points), or None when the metric has no value.
        reason: why there is no value; None when there is one.
    """

    name: str
    symbol: str
    title: str
    definition: str
    value: float | None
    reason: str | None = None


def accuracy(R: Matrix) -> float:
    """Return the mean accuracy over all tasks after the last one ("last accuracy").

        ACC = 1/T Σ_j R[T, j]

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: a cell of the last row is NaN.

    Source: Lopez-Paz & Ranzato 2017 (GEM, arXiv 1706.08840). "Average accuracy" means this in GEM and A-GEM,
    but the mean of A_1 … A_T (`average_incremental_accuracy`) in PyCIL and SD-LoRA. Tasks count equally
    whatever their size; the class-incremental literature often pools the examples of all tasks instead.
    """
    R = checked(R)
    needed = np.zeros(R.shape, dtype=bool)
    needed[-1] = True
    require("ACC", R, needed)
    return float(R[-1].mean())


def backward_transfer(R: Matrix) -> float:
    """Return how much learning later tasks changed the earlier ones, on average; negative means forgetting.

        BWT = 1/(T−1) Σ_{j<T} (R[T, j] − R[j, j])

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: there is one task only, or a cell of the diagonal or of the last row is NaN.

    Source: Lopez-Paz & Ranzato 2017 (GEM, arXiv 1706.08840). GEM's own code divides by T, not
    T − 1; LibContinual's sums over all rows. On one matrix with BWT −13.69 by this formula, LibContinual's code
    gives −9.96. Both formulas are in `plora.results.metrics.variants`.
    """
    R = checked(R)
    T = at_least_two("BWT", R)
    needed = diagonal(T)
    needed[-1] = True
    require("BWT", R, needed)
    return float((R[-1, :-1] - R[1:].diagonal()[:-1]).mean())


def forgetting(R: Matrix) -> float:
    """Return the mean drop of each task from its best earlier accuracy to the last row.

        F_T = 1/(T−1) Σ_{j<T} ( max_{1≤l≤T−1} R[l, j] − R[T, j] )

    The maximum leaves out row T itself, so a task that got better gives a negative number. Cells above the
    diagonal (l < j, measured only when every task is evaluated each time) count where they were measured.

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: there is one task only, or a cell on or below the diagonal is NaN.

    Source: Chaudhry et al. 2018 (RWalk, arXiv 1801.10112). Mammoth, PyCIL and SD-LoRA take the maximum over
    row T too (never negative); Avalanche uses R[j, j] instead of the maximum; LibContinual leaves out two tasks;
    CODA-Prompt reports the mean drop between consecutive rows. Their formulas are in `plora.results.metrics.variants`.
    """
    return float(forgetting_per_task(R).mean())


def forgetting_per_task(R: Matrix) -> Matrix:
    """Return `[T − 1]`: the term of `forgetting` of each task but the last; the same errors."""
    R = checked(R)
    T = at_least_two("F", R)
    needed = np.tri(T + 1, T, k=-1, dtype=bool)
    needed[:, -1] = False
    require("F", R, needed)
    best: Matrix = np.nanmax(R[1:-1, :-1], axis=0)
    return best - R[-1, :-1]


def average_incremental_accuracy(R: Matrix) -> float:
    """Return the mean, over the tasks learned, of the mean accuracy on the tasks seen so far.

        AIA = 1/T Σ_t A_t        A_t = 1/t Σ_{j≤t} R[t, j]

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: a cell on or below the diagonal is NaN.

    Source: Rebuffi et al. 2017 (iCaRL, arXiv 1611.07725), here as the mean over tasks. PyCIL and SD-LoRA
    ("AAA") pool the examples of all tasks seen in A_t, which is the same only when all test splits have one
    size: `plora.results.metrics.pooled`.
    """
    R = checked(R)
    require("AIA", R, np.tri(len(R), R.shape[1], k=-1, dtype=bool))
    return float(seen_accuracy(R).mean())


def seen_accuracy(R: Matrix) -> Matrix:
    """Return `[T]`: A_t, the mean accuracy on tasks 1 … t after task t; NaN where one of its cells is NaN."""
    R = checked(R)
    return np.array([R[t, :t].mean() for t in range(1, len(R))])


def learning_accuracy(R: Matrix) -> float:
    """Return the mean accuracy on each task just after learning it: plasticity without memory.

        LA = 1/T Σ_j R[j, j]

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: a cell of the diagonal is NaN.

    Source: Riemer et al. 2019 (MER, arXiv 1810.11910). ACC = LA + (T−1)/T · BWT.
    """
    R = checked(R)
    require("LA", R, diagonal(R.shape[1]))
    return float(R[1:].diagonal().mean())


def forward_transfer(R: Matrix) -> float:
    """Return how much learning the earlier tasks changed a task before it was learned itself.

        FWT = 1/(T−1) Σ_{j≥2} (R[j−1, j] − R[0, j])

    The baseline R[0, j] is measured on the same network before any training: the pretrained backbone with its
    random head. It is one draw; average FWT over seeds.

    Args:
        R: `[T + 1, T]`, see the module.

    Raises:
        MetricError: there is one task only, or a cell R[j−1, j] or R[0, j] is NaN.

    Source: Lopez-Paz & Ranzato 2017 (GEM, arXiv 1706.08840). GEM's own code divides by T, not T − 1.
    Mammoth measures the "random" baseline of task j on the network already trained on tasks 1 … j−1, so its FWT
    is 0 by construction. Where unseen cells are left at 0 and the baseline is set to 0.5, FWT is −0.5 whatever
    was learned.
    """
    R = checked(R)
    T = at_least_two("FWT", R)
    needed = np.eye(T + 1, T, k=0, dtype=bool)  # R[j−1, j] of the formula stands at [j−1, j−1] of the array
    needed[0] = True
    needed[:, 0] = False
    require("FWT", R, needed)
    return float((R[:-1].diagonal()[1:] - R[0, 1:]).mean())


@dataclass(frozen=True)
class _Definition:
    name: str
    symbol: str
    title: str
    text: str
    function: Callable[[Matrix], float]


METRICS = (
    _Definition(
        "accuracy",
        "ACC",
        "Accuracy after the last task",
        "Mean accuracy over all tasks after the last one: ACC = mean over j of R[T,j].",
        accuracy,
    ),
    _Definition(
        "average_incremental_accuracy",
        "AIA",
        "Average incremental accuracy",
        "Mean accuracy on the tasks seen so far, averaged over the tasks: "
        "AIA = mean over t of A_t, A_t = mean over j ≤ t of R[t,j].",
        average_incremental_accuracy,
    ),
    _Definition(
        "backward_transfer",
        "BWT",
        "Backward transfer",
        "Mean change of each task from just learned to the end: BWT = mean over j < T of R[T,j] − R[j,j]; "
        "negative means forgetting.",
        backward_transfer,
    ),
    _Definition(
        "forgetting",
        "F",
        "Forgetting",
        "Mean drop of each task from its best earlier accuracy, the last row left out (Chaudhry 2018): "
        "F = mean over j < T of (max over l < T of R[l,j]) − R[T,j].",
        forgetting,
    ),
    _Definition(
        "learning_accuracy",
        "LA",
        "Learning accuracy",
        "Mean accuracy on each task just after learning it: LA = mean over j of R[j,j].",
        learning_accuracy,
    ),
    _Definition(
        "forward_transfer",
        "FWT",
        "Forward transfer",
        "Mean gain of a task from learning the earlier ones, before it is learned itself, over the untrained "
        "network: FWT = mean over j ≥ 2 of R[j−1,j] − R[0,j].",
        forward_transfer,
    ),
)
"""Every metric of `summary`, in the order in which tables show them."""


def summary(R: Matrix, scenario: Scenario | None) -> dict[str, Metric]:
    """Return every metric by name; one that has no value here carries the reason instead.

    FWT has a meaning only in the domain-incremental scenario: elsewhere the head (task) or the classes
    (class) of a future task do not exist or are untrained when R[j−1, j] is taken.

    Args:
        R: `[T + 1, T]`, see the module.
        scenario: `task`, `class` or `domain`; None where nobody says, and FWT has no value.

    Raises:
        MetricError: `R` is not an accuracy matrix.
    """
    R = checked(R)
    metrics = {}
    for definition in METRICS:
        value, reason = None, None
        if definition.function is forward_transfer and scenario != "domain":
            reason = (
                f"in the {scenario}-incremental scenario the head of a future task is untrained"
                if scenario
                else "has a meaning in the domain-incremental scenario alone, and the scenario was not said"
            )
        else:
            try:
                value = definition.function(R)
            except MetricError as error:
                reason = error.reason
        metrics[definition.name] = Metric(
            definition.name, definition.symbol, definition.title, definition.text, value, reason
        )
    return metrics
