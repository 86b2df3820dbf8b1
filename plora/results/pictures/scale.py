"""Axes and colours that follow a score: percentages in whole tens, anything else as wide as what was measured."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from plora.results.record.matrix import Matrix
from plora.results.record.score import Score

BAR_AT_LEAST = 1.0  # points: what is less than one is no forgetting, and must not look like much


def colour_map(score: Score) -> str:
    """Return the colour map of a matrix of such cells: what is best is darkest."""
    return "Blues" if score.better == "higher" else "Blues_r"


def colour_limits(cells: Matrix, score: Score) -> tuple[float, float]:
    """Return the values at the ends of the colours: the range of the score where it has two ends, else of the cells."""
    if np.isfinite([score.low, score.high]).all():
        return score.low, score.high
    known = cells[~np.isnan(cells)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def shade(value: float, limits: tuple[float, float], score: Score) -> float:
    """Return how dark the cell of a value is, 0 to 1."""
    share = (value - limits[0]) / (limits[1] - limits[0])
    return share if score.better == "higher" else 1 - share


def fit_y(ax: Axes, shown: Matrix, score: Score) -> None:
    """Fit the y axis to values that are already multiplied by `score.factor`: whole tens around percentages."""
    known = shown[~np.isnan(shown)]
    if score.percent:
        low, high = (known.min(), known.max()) if len(known) else (0.0, 100.0)
        ax.set_ylim(max(0.0, 10 * np.floor((low - 3) / 10)), min(100.0, 10 * np.ceil((high + 3) / 10)) + 0.5)
        ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        return
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    ax.set_ylim(low - room, high + room)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def smallest_bar(score: Score) -> float:
    """Return what a bar is at least compared with, so that rounding does not fill the picture; in the unit shown."""
    return BAR_AT_LEAST if score.percent else 10.0**-3


def direction(score: Score) -> str:
    """Return what a title says about scores where lower is better; nothing where higher is, as everybody expects."""
    return "" if score.better == "higher" else ", lower is better"


def signed(value: float, score: Score) -> str:
    """Return a value, not multiplied yet, with a minus sign as it is printed."""
    return score.text(value).replace("-", "−")


def of_differences(score: Score) -> str:
    """Return in words what differences of a score are: "points of accuracy", "nats per byte"."""
    return f"points of {score.title}" if score.percent else (score.unit or score.title)


def best_and_last(score: Score) -> str:
    """Return in words how forgetting is counted."""
    return "best minus last" if score.better == "higher" else "last minus best"
