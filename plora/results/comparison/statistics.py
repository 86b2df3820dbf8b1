"""What may be said from several runs: means with their spread, and paired tests between methods.

A run is one draw: its seed decides initial weights and batches, its order of tasks what is learned when. What one
method gave over several seeds and orders is an `Estimate`; what two methods gave on the same seeds and orders is a
`Comparison`. With fewer than three seeds neither says more than the numbers themselves: no interval, no p-value, and
the reason instead.

The formulas are those of scipy and statsmodels, which are imported where they are used: they take longer to import
than most tables take to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from plora.errors import RunError, did_you_mean
from plora.results.comparison.comparable import require_poolable, series
from plora.results.comparison.doubts import CONFIDENCE, SEEDS_FOR_A_CLAIM
from plora.results.metrics.named import definitions, metric_names
from plora.results.metrics.run_metrics import RunMetrics
from plora.results.record.found_runs import unfinished_line
from plora.results.record.matrix import Matrix
from plora.results.record.matrix_metrics import Metric, seen_accuracy
from plora.results.record.run_record import RunRecord
from plora.results.record.score import Score

DIGITS = 12  # two differences that are equal but for the rounding of floats are a tie

RunKey = tuple[int, tuple[str, ...]]
"""Seed and order of tasks: what two methods must share to be a pair."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """One metric of one method over its seeds and orders.

    Args:
        label: of the method.
        metric: its name, e.g. `backward_transfer`.
        symbol: of the metric.
        score: its unit, and which way is better.
        keys: seed and order of each run.
        values: the metric of each run, in the order of `keys`; None where it has no value.
        mean: None when a run has no value: a mean over the others would be of other runs than the rest of the row.
        std: standard deviation of the runs (n − 1 in the denominator); None with one run.
        interval: Student's t interval of the mean at 95 %; None with fewer than three seeds.
        reason: why the first of mean, standard deviation and interval that is missing is missing; None when all
            are there.
    """

    label: str
    metric: str
    symbol: str
    score: Score
    keys: tuple[RunKey, ...]
    values: tuple[float | None, ...]
    mean: float | None = None
    std: float | None = None
    interval: Interval | None = None
    reason: str | None = None

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return len({seed for seed, _ in self.keys})

    @property
    def orders(self) -> int:
        """Number of different orders of the tasks."""
        return len({order for _, order in self.keys})


@dataclass(frozen=True)
class Comparison:
    """Two methods on the seeds and orders that both have.

    Args:
        first, second: their labels.
        metric: its name.
        symbol: of the metric.
        score: its unit, and which way is better: `differences` keep their sign, whichever it is.
        keys: the seeds and orders in common.
        differences: first − second, one per key.
        mean, std: of the differences (n − 1 in the denominator).
        interval: Student's t interval of the mean difference at 95 %; without 0 where `p_t` is below 0.05.
        effect_size: Cohen's d_z, the mean of the differences over their standard deviation. It is not Cohen's d of
            two independent groups, and is larger the better the pairs agree.
        p_t, p_wilcoxon: two-sided p-values of the paired t-test and of Wilcoxon's signed-rank test.
        p_t_holm, p_wilcoxon_holm: the same corrected for all comparisons that were made together, each test by
            itself (Holm 1979). Choose the test before looking.
        reason: why no claim can be made; then there are no p-values. None when there are.
        notes: what weakens the claim.
    """

    first: str
    second: str
    metric: str
    symbol: str
    score: Score
    keys: tuple[RunKey, ...]
    differences: tuple[float, ...] = ()
    mean: float | None = None
    std: float | None = None
    interval: Interval | None = None
    effect_size: float | None = None
    p_t: float | None = None
    p_wilcoxon: float | None = None
    p_t_holm: float | None = None
    p_wilcoxon_holm: float | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def seeds(self) -> int:
        """Number of different seeds in common."""
        return len({seed for seed, _ in self.keys})


def pooled(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs of each method over seeds and orders, by label (see `series`), if they may be pooled.

    Args:
        records: complete runs on the same data, in one or several orders.

    Raises:
        RunError: runs that must not be pooled, an unfinished run, or two runs with the same label, seed and order.
    """
    require_poolable(records)
    for record in records:
        if not record.complete:
            raise RunError(
                f"'{record.name}/{record.method}' seed {record.seed} is {unfinished_line(record)}; leave it out"
            )
    groups = series(records)
    for label, members in groups.items():
        seen = set()
        for record in members:
            if _key(record) in seen:
                raise RunError(
                    f"'{label}' has seed {record.seed} twice in the same order of tasks and the same settings; "
                    "name each run once"
                )
            seen.add(_key(record))
    return groups


def estimates(
    records: Sequence[RunRecord], metrics: Sequence[str] | None = None, metric_of: RunMetrics | None = None
) -> dict[str, dict[str, Estimate]]:
    """Return mean, standard deviation and t interval of each metric of each method; see `intervals`.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols; by default all of the matrix.
        metric_of: where metrics come from; what needs the predictions needs one that knows the folders.

    Returns:
        By label (see `series`), then by name of the metric.

    Raises:
        RunError: runs that must not be pooled (names the difference), or an unknown metric.
    """
    groups = pooled(records)
    names = metric_names(metrics, records[0].score)
    metric_of = metric_of or RunMetrics()
    return {label: _estimates(label, names, members, metric_of) for label, members in groups.items()}


def compare(
    records: Sequence[RunRecord],
    metrics: Sequence[str] = ("accuracy",),
    against: str | None = None,
    metric_of: RunMetrics | None = None,
) -> list[Comparison]:
    """Compare methods pair by pair on the seeds and orders that both have.

    Paired t-test and Wilcoxon's signed-rank test, two-sided, of scipy; Holm's correction, of statsmodels, over all
    comparisons that are returned together. So compare what you want to know and no more.

    Pairs that share a seed or an order are not independent, and the tests treat them as if they were; with several
    orders a note says so.

    Args:
        records: complete runs on the same data, in one or several orders.
        metrics: names or symbols.
        against: a label to compare all others with; by default every method with every other.
        metric_of: as in `estimates`.

    Returns:
        Metric by metric, in the order of the runs. A comparison from fewer than three common seeds carries the
        reason instead of p-values.

    Raises:
        RunError: runs that must not be pooled (names the difference), an unknown metric or label.
    """
    groups = pooled(records)
    names = metric_names(metrics, records[0].score)
    if against is not None and against not in groups:
        raise RunError(f"no runs of '{against}'{did_you_mean(against, groups)} (methods here: {', '.join(groups)})")
    if against is None:
        pairs = list(combinations(groups, 2))
    else:
        pairs = [(label, against) for label in groups if label != against]
    metric_of = metric_of or RunMetrics()
    found = [_compare(name, first, second, groups, metric_of) for name in names for first, second in pairs]
    return _corrected(found)


def intervals(values: Matrix) -> Matrix:
    """Return `[columns, 2]`: Student's t interval at 95 % of the mean of each column.

        mean ± t_{n−1, 0.975} · s / √n

    It keeps its word for few runs, where a bootstrap cannot: three values have ten different resamples. How far runs
    differ is all that it knows; how few test examples there were is another interval, see
    `plora.results.comparison.sampling`.

    Args:
        values: `[runs, columns]`, n ≥ 2 runs.

    Returns:
        NaN for a column that has a NaN or does not vary.

    Source: Student (1908), The probable error of a mean.
    """
    from scipy.special import stdtrit  # half a second to import

    found = np.full((values.shape[1], 2), np.nan)
    varying = np.flatnonzero(~np.isnan(values).any(axis=0) & (np.round(np.ptp(values, axis=0), DIGITS) > 0))
    n, kept = len(values), values[:, varying]
    half = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * kept.std(axis=0, ddof=1) / np.sqrt(n)
    found[varying] = kept.mean(axis=0)[:, None] + half[:, None] * [-1, 1]
    return found


def seen_intervals(records: Sequence[RunRecord]) -> Matrix | None:
    """Return `[T, 2]`: the interval of A_t, the mean accuracy on the tasks seen so far; None below three seeds.

    Args:
        records: the runs of one method in one order.
    """
    if len({record.seed for record in records}) < SEEDS_FOR_A_CLAIM:
        return None
    return intervals(np.array([seen_accuracy(record.matrix) for record in records]))


def _key(record: RunRecord) -> RunKey:
    return record.seed, record.tasks


def _estimates(
    label: str, names: Sequence[str], records: Sequence[RunRecord], metric_of: RunMetrics
) -> dict[str, Estimate]:
    found = {name: _estimate(label, records, [metric_of(record, name) for record in records]) for name in names}
    enough = [name for name, estimate in found.items() if estimate.reason is None]
    if enough:
        bounds = intervals(np.array([found[name].values for name in enough], dtype=np.float64).T)
        for name, (low, high) in zip(enough, bounds.tolist(), strict=True):
            if np.isnan(low):
                found[name] = replace(found[name], reason="every run has the same value")
            else:
                found[name] = replace(found[name], interval=(low, high))
    return found


def _estimate(label: str, records: Sequence[RunRecord], metrics: Sequence[Metric]) -> Estimate:
    """Return mean and standard deviation; without a reason when an interval can be given too."""
    first = metrics[0]
    keys, measured = tuple(map(_key, records)), tuple(metric.value for metric in metrics)
    estimate = Estimate(label, first.name, first.symbol, first.score, keys, measured)
    values = [metric.value for metric in metrics if metric.value is not None]
    if len(values) < len(metrics):
        reason = next(metric.reason for metric in metrics if metric.reason is not None)
        some = f"{len(metrics) - len(values)} of {len(metrics)} runs have no value: " if values else ""
        return replace(estimate, reason=some + reason)
    estimate = replace(estimate, mean=float(np.mean(values)))
    if len(values) < 2:
        return replace(estimate, reason="one run has no standard deviation")
    estimate = replace(estimate, std=float(np.std(values, ddof=1)))
    if estimate.seeds < SEEDS_FOR_A_CLAIM:
        return replace(estimate, reason=_too_few(estimate.seeds, "seed"))
    return estimate


def _compare(
    name: str, first: str, second: str, groups: Mapping[str, Sequence[RunRecord]], metric_of: RunMetrics
) -> Comparison:
    of_first, of_second = (
        {_key(record): metric_of(record, name) for record in groups[label]} for label in (first, second)
    )
    keys = tuple(key for key in of_first if key in of_second)
    told = definitions(groups[first][0].score)[name]
    comparison = Comparison(first, second, name, told.symbol, told.score, keys)
    for label, metrics in ((first, of_first), (second, of_second)):
        reasons = [metrics[key].reason for key in keys if metrics[key].reason is not None]
        if reasons:
            return replace(comparison, reason=f"'{label}' has no value: {reasons[0]}")
    differences = [
        round(one - other, DIGITS)
        for one, other in ((of_first[key].value, of_second[key].value) for key in keys)
        if one is not None and other is not None
    ]
    comparison = replace(comparison, differences=tuple(differences))
    if differences:
        comparison = replace(comparison, mean=float(np.mean(differences)))
    if len(differences) > 1:
        comparison = replace(comparison, std=float(np.std(differences, ddof=1)))
    if comparison.seeds < SEEDS_FOR_A_CLAIM:
        return replace(comparison, reason=f"no claim can be made: {_too_few(comparison.seeds, 'common seed')}")
    if len(set(differences)) == 1:
        same = "the difference is the same for every seed, so nothing is known about how much it varies"
        return replace(comparison, std=0.0, reason=f"no claim can be made: {same}")
    return _tested(comparison)


def _tested(comparison: Comparison) -> Comparison:
    from scipy.stats import ttest_1samp, wilcoxon  # seconds to import

    differences = np.array(comparison.differences)
    notes = []
    floor = 2 / 2 ** len(differences)
    if floor > 1 - CONFIDENCE:
        notes.append(f"with {len(differences)} pairs Wilcoxon's p-value cannot be below {floor:.2g}")
    orders = {order for _, order in comparison.keys}
    if len(orders) > 1:
        notes.append(
            f"{len(differences)} pairs of {comparison.seeds} seeds and {len(orders)} orders are tested as if they "
            "were independent; p-values may be too small"
        )
    low, high = intervals(differences[:, None])[0].tolist()
    return replace(
        comparison,
        interval=(low, high),
        effect_size=float(differences.mean() / differences.std(ddof=1)),
        p_t=float(ttest_1samp(differences, 0.0).pvalue),  # of differences: the paired t-test
        p_wilcoxon=float(wilcoxon(differences).pvalue),
        notes=tuple(notes),
    )


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    tested = [k for k, comparison in enumerate(comparisons) if comparison.p_t is not None]
    if not tested:
        return list(comparisons)
    from statsmodels.stats.multitest import multipletests  # seconds to import

    done = list(comparisons)
    by_t = multipletests([done[k].p_t for k in tested], method="holm")[1]
    by_rank = multipletests([done[k].p_wilcoxon for k in tested], method="holm")[1]
    for k, p_t, p_wilcoxon in zip(tested, by_t, by_rank, strict=True):
        done[k] = replace(done[k], p_t_holm=float(p_t), p_wilcoxon_holm=float(p_wilcoxon))
    return done


def _too_few(seeds: int, what: str) -> str:
    return f"{seeds} {what}{'' if seeds == 1 else 's'}, and at least {SEEDS_FOR_A_CLAIM} are needed"
