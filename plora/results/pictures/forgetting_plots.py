"""What was forgotten, as bars: per task of one run, and per method of several."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from plora.errors import RunError
from plora.results.comparison.comparable import require_comparable, series
from plora.results.pictures.figure import FONT_POINTS, GRID, INK, MUTED, PAPER, SERIES, new_figure, subtitle, title
from plora.results.pictures.heatmap import slant, task_names
from plora.results.pictures.scale import best_and_last, of_differences, signed, smallest_bar
from plora.results.record.matrix import Matrix, MetricError
from plora.results.record.matrix_metrics import forgetting_per_task
from plora.results.record.run_record import RunRecord
from plora.results.tables.one_line import elide

WIDTH = 6.4
NUMBERED_BARS = 20
"""Of more bars, none carries its number."""
SHAPES_UP_TO = 100
"""Bars or rings: more of them cannot be told apart."""


def forgetting_of_tasks(record: RunRecord) -> Figure:
    """Draw how far each task fell from its best earlier score to the last row, a bar per task.

    Raises:
        RunError: the matrix lacks a cell that the drop needs, or has one task only.
    """
    score = record.score
    drops = score.factor * _drops(record)
    T = len(drops)
    figure, (ax,) = new_figure(float(np.clip(1.4 + 0.8 * T, 4.4, WIDTH)), 2.6)
    if T <= SHAPES_UP_TO:
        ax.bar(np.arange(T) + 0.5, drops, width=0.62, color=SERIES[0], edgecolor=INK, linewidth=0.4)
    else:  # bars that touch, as one shape
        ax.stairs(drops, np.arange(T + 1), fill=True, color=SERIES[0])
    ax.axhline(0, color=MUTED, linewidth=0.8)
    low, high = min(0.0, float(drops.min())), max(smallest_bar(score), float(drops.max()))
    ax.set(xlim=(0, T), ylim=(low - (0.14 if low else 0.0) * (high - low), high + 0.14 * (high - low)))
    if T <= NUMBERED_BARS:
        ax.spines["left"].set_visible(False)
        ax.set_yticks([])
        for x, drop in enumerate(drops):
            ax.annotate(
                signed(drop / score.factor, score),
                (x + 0.5, drop),
                (0, 3 if drop >= 0 else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if drop >= 0 else "top",
                fontsize=FONT_POINTS,
                color=INK,
            )
    names = task_names(record.tasks[:-1])
    step = 1 if T <= 30 else int(np.ceil(T / 15))
    ax.set_xticks(np.arange(0, T, step) + 0.5, names[::step])
    ax.tick_params(axis="x", length=0, labelcolor=INK)
    if T <= 12:
        slant(ax, names)
    else:
        ax.set_xlabel("task", fontsize=FONT_POINTS, color=MUTED)
    title(ax, f"Forgetting of each task ({of_differences(score)}, {best_and_last(score)})")
    return figure


def forgetting_of_methods(records: Sequence[RunRecord]) -> Figure:
    """Draw the mean forgetting F_T of each method as a bar, with a ring for each of its tasks, means over seeds.

    Of more than SHAPES_UP_TO tasks the rings are the ends of the twenty equal parts of them, from least to most.
    The thin line under a bar is ± one standard deviation of F_T over seeds, where there are two or more.

    Raises:
        RunError: the runs must not be compared, or forgetting is not defined for any of them.
    """
    require_comparable(records)
    score = records[0].score
    found: dict[str, Matrix] = {}
    for label, runs in series(records).items():
        drops = [_drops(run) for run in runs if has_forgetting(run)]
        if drops:
            found[label] = score.factor * np.array(drops)
    if not found:
        raise RunError("no run has the cells that forgetting needs: two tasks or more, measured after each of them")
    many = len(records[0].tasks) > SHAPES_UP_TO
    names = sorted(found, key=lambda label: -float(found[label].mean()))
    figure, (ax,) = new_figure(WIDTH, 1.15 + 0.34 * len(names))
    low = min(0.0, *(float(found[name].mean(axis=0).min()) for name in names))
    high = max(smallest_bar(score), *(float(found[name].mean(axis=0).max()) for name in names))
    for row, name in enumerate(names):
        of_seeds, of_tasks = found[name].mean(axis=1), found[name].mean(axis=0)
        mean = float(of_seeds.mean())
        if many:
            of_tasks = np.percentile(of_tasks, np.arange(0, 101, 5))
        ax.barh(row, mean, height=0.56, color=SERIES[0], alpha=0.75, linewidth=0)
        ax.plot(of_tasks, np.full(len(of_tasks), row), "o", color=INK, markerfacecolor=PAPER, markersize=4.5, mew=0.9)
        if len(of_seeds) > 1:
            spread = float(of_seeds.std(ddof=1))
            ax.plot([mean - spread, mean + spread], [row + 0.38] * 2, color=INK, linewidth=1.4)
        ax.annotate(
            signed(mean / score.factor, score),
            (1, row),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=FONT_POINTS,
            color=INK,
            annotation_clip=False,
        )
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    edge = 0.04 * (high - low)
    ax.set(xlim=(low - edge, high + edge), ylim=(len(names) - 0.4, -0.6))
    ax.set_yticks(range(len(names)), [_named(name, len(found[name])) for name in names])
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"{of_differences(score)}, {best_and_last(score)}", fontsize=FONT_POINTS, color=MUTED)
    title(ax, "Forgetting of each method", pad=22)
    several = any(len(drops) > 1 for drops in found.values())
    whisker = " · thin line: ± 1 standard deviation of seeds" if several else ""
    rings = f"{len(records[0].tasks):,} tasks in twentieths" if many else "tasks"
    subtitle(ax, f"bar: mean of tasks · rings: {rings}{whisker}")
    return figure


def _named(label: str, seeds: int) -> str:
    return elide(label, 32) + (f", {seeds} seeds" if seeds > 1 else "")


def has_forgetting(record: RunRecord) -> bool:
    """Return whether the matrix has every cell that forgetting needs."""
    try:
        forgetting_per_task(record.matrix, record.score.better)
    except MetricError:
        return False
    return True


def _drops(record: RunRecord) -> Matrix:
    try:
        return forgetting_per_task(record.matrix, record.score.better)
    except MetricError as error:
        raise RunError(f"forgetting of '{record.name}/{record.method}' cannot be drawn: {error}") from None
