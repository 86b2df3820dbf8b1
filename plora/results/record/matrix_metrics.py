"""Continual-learning metrics as pure functions of one accuracy matrix, see `plora.results.record.matrix`.

Cells may be any score. Where lower is better, a difference is counted the other way round, so that its sign says the
same: positive forgetting is what got worse, negative backward transfer means forgetting, positive forward transfer a
gain. So a metric of differences of −R is that of R with the other direction, and a metric that is a mean of cells is in
their unit and changes its sign. What is written here about accuracies holds for every score.

Most published toolkits print different numbers under the same names; each docstring says where.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, at_least_two, checked, diagonal, require
from plora.results.record.score import ACCURACY, Better, Score
from plora.streams.base import Scenario


@dataclass(frozen=True)
class Metric:
    """One metric of one run.

    Args:
        name: its key, e.g. `backward_transfer`.
        symbol: its short form for table heads, e.g. `BWT`.
        title: in plain words.
        definition: one sentence with the formula.
        value: in the unit of the matrix (a fraction of accuracies: 0.5 is 50 points), or None when there is none.
        reason: why there is no value; None when there is one.
        score: its unit, which way is better, and how it is written.
    """

    name: str
    symbol: str
    title: str
    definition: str
    value: float | None
    reason: str | None = None
    score: Score = ACCURACY


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


def backward_transfer(R: Matrix, better: Better = "higher") -> float:
    """Return how much learning later tasks changed the earlier ones, on average; negative means forgetting.

        BWT = 1/(T−1) Σ_{j<T} (R[T, j] − R[j, j])

    Args:
        R: `[T + 1, T]`, see the module.
        better: which way cells are better; where lower is, with the other sign and the lowest as the best.

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
    gains = oriented(R, better)
    return float((gains[-1, :-1] - gains[1:].diagonal()[:-1]).mean())


def forgetting(R: Matrix, better: Better = "higher") -> float:
    """Return the mean drop of each task from its best earlier accuracy to the last row.

        F_T = 1/(T−1) Σ_{j<T} ( max_{1≤l≤T−1} R[l, j] − R[T, j] )

    The maximum leaves out row T itself, so a task that got better gives a negative number. Cells above the
    diagonal (l < j, measured only when every task is evaluated each time) count where they were measured.

    Args:
        R: `[T + 1, T]`, see the module.
        better: which way cells are better; where lower is, with the other sign and the lowest as the best.

    Raises:
        MetricError: there is one task only, or a cell on or below the diagonal is NaN.

    Source: Chaudhry et al. 2018 (RWalk, arXiv 1801.10112). Mammoth, PyCIL and SD-LoRA take the maximum over
    row T too (never negative); Avalanche uses R[j, j] instead of the maximum; LibContinual leaves out two tasks;
    CODA-Prompt reports the mean drop between consecutive rows. Their formulas are in `plora.results.metrics.variants`.
    """
    return float(forgetting_per_task(R, better).mean())


def forgetting_per_task(R: Matrix, better: Better = "higher") -> Matrix:
    """Return `[T − 1]`: the term of `forgetting` of each task but the last; the same errors."""
    R = checked(R)
    T = at_least_two("F", R)
    needed = np.tri(T + 1, T, k=-1, dtype=bool)
    needed[:, -1] = False
    require("F", R, needed)
    gains = oriented(R, better)
    best: Matrix = np.nanmax(gains[1:-1, :-1], axis=0)
    return best - gains[-1, :-1]


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


def forward_transfer(R: Matrix, better: Better = "higher") -> float:
    """Return how much learning the earlier tasks changed a task before it was learned itself.

        FWT = 1/(T−1) Σ_{j≥2} (R[j−1, j] − R[0, j])

    The baseline R[0, j] is measured on the same network before any training: the pretrained backbone with its
    random head. It is one draw; average FWT over seeds.

    Args:
        R: `[T + 1, T]`, see the module.
        better: which way cells are better; where lower is, with the other sign and the lowest as the best.

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
    gains = oriented(R, better)
    return float((gains[:-1].diagonal()[1:] - gains[0, 1:]).mean())


def said_of(reason: str, score: Score) -> str:
    """Return why there is no value in the words of a score: formulas and their errors are written for accuracies."""
    return reason if score == ACCURACY else reason.replace("accuracies", score.title).replace("accuracy", score.title)


def oriented(R: Matrix, better: Better) -> Matrix:
    """Return `R` where higher is better, −R where lower is: what is then larger is better."""
    return R if better == "higher" else -R


@dataclass(frozen=True)
class MatrixMetric:
    """One metric of the matrix, in the words of the score that its cells are.

    Args:
        name, symbol, title: as in `Metric`; the names are the same for every score.
        text: its definition.
        score: its unit, and which way is better.
        cells: what a cell of the matrix is.
        function: of the matrix, and of which way its cells are better.
    """

    name: str
    symbol: str
    title: str
    text: str
    score: Score
    cells: Score
    function: Callable[[Matrix, Better], float]

    def metric(self, R: Matrix) -> Metric:
        """Return the metric of a matrix; the reason instead of a value where it has none."""
        value, reason = None, None
        try:
            value = self.function(R, self.cells.better)
        except MetricError as error:
            reason = said_of(error.reason, self.cells)
        return Metric(self.name, self.symbol, self.title, self.text, value, reason, self.score)

    def missing(self, reason: str) -> Metric:
        """Return the metric without a value."""
        return Metric(self.name, self.symbol, self.title, self.text, None, reason, self.score)


def matrix_metrics(score: Score) -> tuple[MatrixMetric, ...]:
    """Return every metric of a matrix of such cells, in the order in which tables show them."""
    last, incremental, learned = ("ACC", "AIA", "LA") if score == ACCURACY else ("last", "incremental", "learned")
    title, higher = score.title, score.better == "higher"
    capital = title[0].upper() + title[1:]
    fell, best = ("drop", "max") if higher else ("rise", "min")

    def minus(one: str, other: str) -> str:
        return f"{one} − {other}" if higher else f"{other} − {one}"

    return (
        MatrixMetric(
            "accuracy",
            last,
            f"{capital} after the last task",
            f"Mean {title} over all tasks after the last one: {last} = mean over j of R[T,j].",
            score,
            score,
            lambda R, _: accuracy(R),
        ),
        MatrixMetric(
            "average_incremental_accuracy",
            incremental,
            f"Average incremental {title}",
            f"Mean {title} on the tasks seen so far, averaged over the tasks: "
            f"{incremental} = mean over t of A_t, A_t = mean over j ≤ t of R[t,j].",
            score,
            score,
            lambda R, _: average_incremental_accuracy(R),
        ),
        MatrixMetric(
            "backward_transfer",
            "BWT",
            "Backward transfer",
            f"Mean change of each task from just learned to the end: BWT = mean over j < T of "
            f"{minus('R[T,j]', 'R[j,j]')}; negative means forgetting.",
            score.change("backward_transfer"),
            score,
            backward_transfer,
        ),
        MatrixMetric(
            "forgetting",
            "F",
            "Forgetting",
            f"Mean {fell} of each task from its best earlier {title}, the last row left out (Chaudhry 2018): "
            f"F = mean over j < T of {minus(f'({best} over l < T of R[l,j])', 'R[T,j]')}.",
            score.change("forgetting", "lower"),
            score,
            forgetting,
        ),
        MatrixMetric(
            "learning_accuracy",
            learned,
            f"Learning {title}",
            f"Mean {title} on each task just after learning it: {learned} = mean over j of R[j,j].",
            score,
            score,
            lambda R, _: learning_accuracy(R),
        ),
        MatrixMetric(
            "forward_transfer",
            "FWT",
            "Forward transfer",
            "Mean gain of a task from learning the earlier ones, before it is learned itself, over the untrained "
            f"network: FWT = mean over j ≥ 2 of {minus('R[j−1,j]', 'R[0,j]')}.",
            score.change("forward_transfer"),
            score,
            forward_transfer,
        ),
    )


METRICS = matrix_metrics(ACCURACY)
"""Every metric of `summary` by its name, as it is said of accuracies."""


def summary(R: Matrix, scenario: Scenario | None, score: Score = ACCURACY) -> dict[str, Metric]:
    """Return every metric by name; one that has no value here carries the reason instead.

    FWT has a meaning only in the domain-incremental scenario: elsewhere the head (task) or the classes
    (class) of a future task do not exist or are untrained when R[j−1, j] is taken.

    Args:
        R: `[T + 1, T]`, see the module.
        scenario: `task`, `class` or `domain`; None where nobody says, and FWT has no value.
        score: what a cell is.

    Raises:
        MetricError: `R` is not an accuracy matrix.
    """
    R = checked(R)
    metrics = {}
    for definition in matrix_metrics(score):
        if definition.name == "forward_transfer" and scenario != "domain":
            metrics[definition.name] = definition.missing(
                f"in the {scenario}-incremental scenario the head of a future task is untrained"
                if scenario
                else "has a meaning in the domain-incremental scenario alone, and the scenario was not said"
            )
        else:
            metrics[definition.name] = definition.metric(R)
    return metrics
