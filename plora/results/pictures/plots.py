"""The pictures of a run: accuracy matrix, each task over time, methods compared, learning curves.

Each function returns a matplotlib Figure; `to_svg` and `to_png` make files of it. Scores that are fractions are shown
in percent, others in their unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from plora.errors import RunError
from plora.results.comparison.comparable import require_comparable, series
from plora.results.comparison.doubts import SEEDS_FOR_A_CLAIM
from plora.results.comparison.sampling import size_interval
from plora.results.comparison.statistics import seen_intervals
from plora.results.metrics.chance import Chance
from plora.results.pictures.cells import coloured_cells
from plora.results.pictures.figure import (
    FONT_POINTS,
    GRID,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    end_labels,
    new_figure,
    subtitle,
    title,
)
from plora.results.pictures.scale import colour_limits, colour_map, direction, fit_y, shade
from plora.results.record.curves import Point
from plora.results.record.matrix import Matrix
from plora.results.record.matrix_metrics import seen_accuracy
from plora.results.record.run_record import RunRecord
from plora.results.record.score import ACCURACY, Score
from plora.results.record.thinning import spread_over
from plora.results.tables.folding import WHOLE_UP_TO
from plora.results.tables.one_line import shorten

WIDTH = 6.4  # inches: the text width of a page
NUMBERS_UP_TO = 12  # tasks: beyond this a cell is too small for its number
NAMES_UP_TO = 10
POINTS_PER_CURVE = 300
POINTS_OF_MANY = 3000  # of the one line of more than WHOLE_UP_TO tasks
LINES = 20  # of more than WHOLE_UP_TO tasks
_CHANCE: Mapping[str, Any] = {"color": MUTED, "linestyle": (0, (1, 2)), "linewidth": 1.3, "zorder": 1}
_DARK_TEXT, _LIGHT_TEXT = "#0b0e13", "#f7f9fc"


def accuracy_matrix(record: RunRecord, chance: Chance | None = None) -> Figure:
    """Draw `R` in the unit of its score, a row per state, a column per task, unmeasured cells hatched.

    A line under the title says chance and the interval of the last row's mean, where they are known.
    """
    R = record.matrix
    T = R.shape[1]
    cell = float(np.clip(4.6 / T, 0.18, 0.62))
    width = float(np.clip(1.6 + 1.5 * cell * T, 4.4, WIDTH))
    figure, (ax,) = new_figure(width, 1.1 + cell * 0.72 * (min(T, WHOLE_UP_TO) + 1))
    score, limits = record.score, colour_limits(R, record.score)
    colours = colormaps[colour_map(score)].with_extremes(bad=(0, 0, 0, 0))
    scale = Normalize(*limits)
    # Row 0 stands apart: it was measured before anything was learned.
    apart = 0.15 if T <= WHOLE_UP_TO else 0.005 * T
    for top, cells in ((0.0, R[:1]), (1 + apart, R[1:])):
        hatched = Rectangle((0, top), T, len(cells), facecolor="none", edgecolor=GRID, hatch="////", lw=0)
        ax.add_patch(hatched)
        coloured_cells(ax, cells, top, colours, scale, rasterized=T > 30)
    if T <= NUMBERS_UP_TO:
        for i, j in np.ndindex(T + 1, T):
            if not np.isnan(R[i, j]):
                dark = shade(float(R[i, j]), limits, score) < 0.58
                ax.text(
                    j + 0.5,
                    i + (0.65 if i else 0.5),
                    score.text(float(R[i, j])),
                    ha="center",
                    va="center",
                    fontsize=FONT_POINTS,
                    color=_DARK_TEXT if dark else _LIGHT_TEXT,
                    fontweight="bold" if i == j + 1 else "normal",
                )
    ax.set(xlim=(0, T), ylim=(T + 1 + apart, 0))
    for spine in ax.spines.values():
        spine.set_visible(False)
    labels = _task_labels(record.tasks)
    step = 1 if T <= 30 else int(np.ceil(T / 20))
    first = 0 if T <= WHOLE_UP_TO else step - 1  # the first of many would stand on "before training"
    across = step if T < 1000 else 2 * step  # numbers of four digits
    left = first + across - step if first else 0
    ax.set_xticks(np.arange(left, T, across) + 0.5, labels[left::across])
    ax.set_yticks(
        [0.5, *(np.arange(first, T, step) + 1.5 + apart)],
        ["before training", *(f"after {label}" for label in labels[first::step])],
    )
    ax.tick_params(length=0, labelcolor=INK)
    letter = 0.075  # inches
    if T <= NAMES_UP_TO and max(map(len, labels)) * letter > 1.5 * cell:
        ax.tick_params(axis="x", labelrotation=30)
        for label in ax.get_xticklabels():
            label.set_horizontalalignment("right")
    said = _chance_and_size([[record]], chance)
    heading = f"{record.split.capitalize()} {score.label} on each task, after each task{direction(score)}"
    title(ax, heading, pad=22 if said else 10)
    if said:
        subtitle(ax, said)
    return figure


def tasks_over_time(record: RunRecord, chance: Chance | None = None) -> Figure:
    """Draw the score of each task from the moment it was learned, one labelled line each; dotted, chance of the mean.

    Of more than WHOLE_UP_TO tasks the lines of LINES are drawn, evenly spread over the stream.
    """
    score = record.score
    R = score.factor * record.matrix
    T = R.shape[1]
    figure, (ax,) = new_figure(WIDTH, 3.4 if T <= NAMES_UP_TO else 4.2)
    colours = colours_of(T)
    level = [] if chance is None else [score.factor * chance.mean]
    _axes(ax, np.concatenate([R[1:][np.tri(T, T, dtype=bool)], level]), T, score)
    for height in level:
        ax.axhline(height, **_CHANCE)
    few, many = T <= NAMES_UP_TO, T > WHOLE_UP_TO
    drawn = spread_over(T, LINES) if many else range(T)
    for j in drawn:
        ax.plot(
            np.arange(j + 1, T + 1),
            R[j + 1 :, j],
            color=colours[j],
            marker=MARKERS[j % len(MARKERS)] if few else None if many else ".",
            markersize=4.5,
            linewidth=1.5 if few else 1.0,
        )
        if not few and not many and not np.isnan(R[j + 1, j]):
            # At the ends many lines meet; where they begin there is room for the number of the task.
            start = (j + 1, R[j + 1, j])
            ax.annotate(str(j + 1), start, (0, 5), textcoords="offset points", ha="center", color=INK, fontsize=7)
    if few:
        ended = [j for j in range(T) if not np.isnan(R[-1, j])]
        ends = [float(R[-1, j]) for j in ended]
        end_labels(ax, T, ends, [record.tasks[j] for j in ended], [colours[j] for j in ended])
    task_axis(ax, record.tasks)
    of = f"{LINES} of {T:,} tasks" if many else "each task"
    heading = f"{record.split.capitalize()} {score.label} of {of}, from when it was learned{direction(score)}"
    said = _chance_and_size([[record]], chance, drawn=True)
    title(ax, heading, pad=22 if said else 10)
    if said:
        subtitle(ax, said)
    return figure


def compare_methods(records: Sequence[RunRecord], chance: Chance | None = None) -> Figure:
    """Draw the mean score of the tasks seen so far, one labelled line per method.

        A_t = 1/t Σ_{j≤t} R[t, j]

    A line is the mean over the seeds of a method. From three seeds on a band shows the 95 % t interval of that
    mean, see `plora.results.comparison.statistics`; with two, its runs lie behind, faint. A method measured only after
    the last task (joint) is a dashed horizontal line at A_T; a dotted line is chance.

    Args:
        records: comparable runs.
        chance: of their test examples, where it is known.

    Raises:
        RunError: the runs differ in stream, scenario or data, or none was evaluated after its last task.
    """
    require_comparable(records)
    tasks, score = records[0].tasks, records[0].score
    T = len(tasks)
    runs_of = {
        label: runs
        for label, runs in series(records).items()
        if not any(np.isnan(run.matrix[-1]).any() for run in runs)
    }
    curves = {
        label: score.factor * np.array([seen_accuracy(run.matrix) for run in runs]) for label, runs in runs_of.items()
    }
    bands = {
        label: score.factor * band for label, runs in runs_of.items() if (band := seen_intervals(runs)) is not None
    }
    if not curves:
        raise RunError("no run was evaluated after its last task; there is nothing to compare yet")
    figure, (ax,) = new_figure(WIDTH, 3.4 + 0.08 * max(0, len(curves) - 8))
    level = np.empty(0) if chance is None else score.factor * chance.seen
    drawn = [each.ravel() for each in (*curves.values(), *bands.values(), level)]
    _axes(ax, np.concatenate(drawn), T, score)
    if T > 1 and len(level):
        ax.plot(np.arange(1, T + 1), level, **_CHANCE)
    for number, (label, runs) in enumerate(curves.items()):
        colour, mean = SERIES[number % len(SERIES)], runs.mean(axis=0)
        band = bands.get(label)
        if band is not None:
            band = np.where(np.isnan(band), mean[:, None], band)  # of runs that are all alike: the mean
        if np.isnan(mean[:-1]).all() and T > 1:
            ax.axhline(mean[-1], color=colour, linestyle=(0, (5, 3)), linewidth=1.3)
            if band is not None:
                ax.axhspan(*band[-1], color=colour, alpha=0.16, linewidth=0)
            continue
        if band is not None:
            ax.fill_between(np.arange(1, T + 1), *band.T, color=colour, alpha=0.16, linewidth=0)
        elif len(runs) > 1:
            for run in runs:
                ax.plot(np.arange(1, T + 1), run, color=colour, linewidth=0.7, alpha=0.35)
        ax.plot(
            np.arange(1, T + 1),
            mean,
            color=colour,
            marker=MARKERS[number % len(MARKERS)] if T <= WHOLE_UP_TO else None,
            markersize=4.5,
            linewidth=1.7,
        )
    end_labels(
        ax,
        T,
        [float(runs.mean(axis=0)[-1]) for runs in curves.values()],
        [f"{label}, {len(runs)} seeds" if len(runs) > 1 else label for label, runs in curves.items()],
        [SERIES[number % len(SERIES)] for number in range(len(curves))],
    )
    task_axis(ax, tasks)
    title(ax, f"Mean {records[0].split} {score.label} on the tasks seen so far{direction(score)}", pad=22)
    subtitle(ax, _how_to_read([len({run.seed for run in runs}) for runs in runs_of.values()]))
    if said := _chance_and_size([*runs_of.values()], chance, drawn=True):  # no room for it beside the other
        ax.set_xlabel(f"{ax.get_xlabel()}\n{said}", fontsize=FONT_POINTS, color=MUTED)
    return figure


def _chance_and_size(of_methods: Sequence[Sequence[RunRecord]], chance: Chance | None, drawn: bool = False) -> str:
    """Return chance, and how far the number of test examples lets the mean of the last row be known, at most."""
    parts = []
    if chance is not None:
        parts.append(f"{'dotted: chance, ' if drawn else 'chance: '}{ACCURACY.text(chance.mean)}")
    if found := [bounds for runs in of_methods if (bounds := size_interval(runs)) is not None]:
        parts.append(f"mean ± {max(50 * (high - low) for low, high in found):.1f} by test size")
    return " · ".join(parts)


def _how_to_read(seeds: Sequence[int]) -> str:
    """Return what lines and bands are, given the number of seeds of each method."""
    if max(seeds) == 1:
        return "one seed each: no interval"
    parts = ["line: mean"]
    if enough := [count for count in seeds if count >= SEEDS_FOR_A_CLAIM]:
        counts = f"{enough[0]}" if len(set(enough)) == 1 else f"{min(enough)} to {max(enough)}"
        parts.append(f"band: 95 % t interval over {counts} seeds")
    if few := [count for count in seeds if count < SEEDS_FOR_A_CLAIM]:
        thin = "thin lines: runs, " if max(few) > 1 else ""
        parts.append(f"{thin}no band below {SEEDS_FOR_A_CLAIM} seeds")
    return " · ".join(parts)


def learning_curves(curves: Sequence[Point], score: Score = ACCURACY) -> Figure:
    """Draw the loss and each of its terms over the steps of all tasks, one panel each, and validation scores.

    These are of the split of the task being learned, and have a panel where any was measured. Of more than
    WHOLE_UP_TO tasks each panel has one line, which runs through all of them.

    Args:
        curves: of a run.
        score: what was measured on validation.

    Raises:
        RunError: there are no points.
    """
    if not curves:
        raise RunError("there are no learning curves: this run logged no training step")
    points_of: dict[str, list[Point]] = {}
    for point in curves:
        points_of.setdefault(point.task, []).append(point)
    many = len(points_of) > WHOLE_UP_TO
    names = list(dict.fromkeys(name for point in curves for name in point.terms))
    if len(names) == 1:
        names = []  # a single term is the loss
    validated = any(point.validation is not None for point in curves)
    validation = "validation %" if score.percent else f"validation, {score.title}"
    panels = ["loss", *names, *([validation] if validated else [])]
    figure, axes = new_figure(WIDTH, 0.9 + (2.0 if len(panels) == 1 else 1.35 * len(panels)), rows=len(panels))
    start = 0
    through: dict[str, list[tuple[Matrix, Matrix]]] = {panel: [] for panel in panels}
    for number, (task, points) in enumerate(points_of.items()):
        steps = np.array([point.step for point in points], dtype=np.float64) + start
        for ax, panel in zip(axes, panels, strict=True):
            if panel == validation:
                scored = [(step, point.validation) for step, point in zip(steps, points, strict=True)]
                found = [(step, score.factor * value) for step, value in scored if value is not None]
                if found and many:
                    through[panel].append((np.array([step for step, _ in found]), np.array([v for _, v in found])))
                elif found:
                    ax.plot(*zip(*found, strict=True), color=SERIES[2], marker="o", markersize=2.5)
            else:
                values = np.array(
                    [point.loss if panel == "loss" else point.terms.get(panel, np.nan) for point in points]
                )
                if many:
                    through[panel].append((steps, values))
                else:
                    alone = "." if len(points) == 1 else None  # a line of one point cannot be seen
                    ax.plot(*_thinned(steps, values), color=SERIES[0 if panel == "loss" else 1], marker=alone)
            if number and not many:
                ax.axvline(start, color=GRID, linewidth=1)
        end = start + points[-1].step
        if len(points_of) <= NAMES_UP_TO:
            room = max(4, int(80 * (end - start) / max(1, _total_steps(curves))))
            axes[0].text(
                (start + end) / 2,
                1.02,
                shorten(task, room),
                transform=axes[0].get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=FONT_POINTS - 1,
                color=MUTED,
            )
        start = end
    for ax, panel in zip(axes, panels, strict=True):
        if through[panel]:
            whole, values = (np.concatenate(parts) for parts in zip(*through[panel], strict=True))
            colour = SERIES[2] if panel == validation else SERIES[0] if panel == "loss" else SERIES[1]
            apiece = -(-len(whole) // POINTS_OF_MANY)  # bins of one and of two would look like two runs
            ax.plot(*_thinned(whole, values, len(whole) // apiece), color=colour)
        ax.set_ylabel(shorten(panel, 18), fontsize=FONT_POINTS, color=INK)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.margins(x=0.01)
        for line in ax.lines:
            line.set_linewidth(1.1)
    axes[-1].set_xlabel("optimizer steps, all tasks", fontsize=FONT_POINTS, color=MUTED)
    figure.align_ylabels(axes)
    said = [
        "Training loss",
        *(["each term of it"] if names else []),
        *([f"validation {score.title}"] if validated else []),
    ]
    title(axes[0], " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said), pad=20)
    return figure


def _total_steps(curves: Sequence[Point]) -> int:
    last = {point.task: point.step for point in curves}
    return sum(last.values())


def _thinned(steps: Matrix, values: Matrix, most: int = POINTS_PER_CURVE) -> tuple[Matrix, Matrix]:
    """Return at most `most` points: means of equal bins."""
    if len(steps) <= most:
        return steps, values
    bins = np.array_split(np.arange(len(steps)), most)
    return np.array([steps[b].mean() for b in bins]), np.array([values[b].mean() for b in bins])


def colours_of(T: int) -> list[str]:
    """Return a colour per task: distinct ones for a few tasks, from old (dark) to new (light) for many."""
    if len(SERIES) >= T:
        return list(SERIES[:T])
    return [to_hex(colormaps["viridis"](0.85 * j / (T - 1))) for j in range(T)]


def _task_labels(tasks: Sequence[str]) -> list[str]:
    if len(tasks) > NAMES_UP_TO:
        return [str(number) for number in range(1, len(tasks) + 1)]
    return [shorten(task, 14) for task in tasks]


def _axes(ax: Axes, shown: Matrix, T: int, score: Score) -> None:
    """Fit both axes, with room for the first and the last marker."""
    fit_y(ax, shown, score)
    ax.set_xlim(0.8, T + (0.15 if T > 1 else 0.2))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def task_axis(ax: Axes, tasks: Sequence[str]) -> None:
    """Say along x after which task: names of a few, numbers of many."""
    T = len(tasks)
    if T <= 6:
        ax.set_xticks(range(1, T + 1), [shorten(task, 72 // max(T, 4) - 3) for task in tasks])
        ax.tick_params(axis="x", labelcolor=INK)
    elif T <= 20:
        ax.set_xticks(range(1, T + 1))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    ax.set_xlabel("after learning task" if T > 6 else "after learning", fontsize=FONT_POINTS, color=MUTED)
