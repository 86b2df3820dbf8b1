"""Numbers as people read them."""

import numpy as np

from plora.results.comparison.statistics import Estimate
from plora.results.metrics.further import SYMBOLS, unit

NOT_MEASURED = "–"


NOT_APPLICABLE = "n/a"


def percent(value: float | None) -> str:
    """Return a fraction as "73.3", never "-0.0"; "n/a" for None, "–" for NaN."""
    if value is None:
        return NOT_APPLICABLE
    if np.isnan(value):
        return NOT_MEASURED
    return f"{round(100 * value, 1) + 0.0:.1f}"


def number(name: str, value: float | None) -> str:
    """Return the value of a metric as `percent` does, steps as "120.0": a mean over tasks, of few steps often."""
    return percent(value) if value is None or unit(name) != "steps" else f"{value:.1f}"


def mean_and_std(estimate: Estimate) -> str:
    """Return "73.3 ± 1.2", "73.3" of a single run, "n/a" without a mean."""
    return NOT_APPLICABLE if estimate.mean is None else plus_minus(estimate.metric, estimate.mean, estimate.std)


def plus_minus(name: str, mean: float, std: float | None) -> str:
    """Return the mean of a metric with its standard deviation, "73.3 ± 1.2", or alone where there is none."""
    return number(name, mean) if std is None else f"{number(name, mean)} ± {number(name, std)}"


def head_of(name: str) -> str:
    """Return the symbol, with its unit where that is not a share of all examples."""
    return f"{SYMBOLS[name]} (steps)" if unit(name) == "steps" else SYMBOLS[name]
