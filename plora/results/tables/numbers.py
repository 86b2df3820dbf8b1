"""Numbers as people read them in tables."""

from plora.results.comparison.statistics import Estimate
from plora.results.record.score import ACCURACY, NOT_APPLICABLE, NOT_MEASURED, Score


def percent(value: float | None) -> str:
    """Return a fraction as "73.3", never "-0.0"; "n/a" for None, "–" for NaN."""
    return ACCURACY.text(value)


def mean_and_std(estimate: Estimate) -> str:
    """Return "73.3 ± 1.2", "73.3" of a single run, "n/a" without a mean."""
    return NOT_APPLICABLE if estimate.mean is None else plus_minus(estimate.score, estimate.mean, estimate.std)


def plus_minus(score: Score, mean: float, std: float | None) -> str:
    """Return the mean of a metric with its standard deviation, "73.3 ± 1.2", or alone where there is none."""
    return score.text(mean) if std is None else f"{score.text(mean)} ± {score.text(std)}"


def size(value: float | None) -> str:
    """Return bytes as "1.5 MiB"; "–" where they were not measured."""
    if value is None:
        return NOT_MEASURED
    for prefix, divisor in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if value >= divisor:
            return f"{value / divisor:.1f} {prefix}B"
    return f"{value:.0f} B"


def head_of(symbol: str, score: Score, cells: Score) -> str:
    """Return the symbol of a metric, with its unit where that is not the one of the table.

    Args:
        symbol, score: of the metric.
        cells: what a cell of the matrix is, whose unit the table has.
    """
    alike = score.percent if cells.percent else score.unit == cells.unit
    return symbol if alike or score.unit in ("", symbol) else f"{symbol} ({score.unit})"


def how_to_read(cells: Score) -> list[str]:
    """Return a line that says what the numbers of a table are, where they are no accuracies."""
    if cells == ACCURACY:
        return []
    signs = "; a negative BWT and a positive F are what got worse" if cells.better == "lower" else ""
    return [f"{cells.label}: {cells.better} is better{signs}"]
