"""What a score costs: one point per method."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from plora.errors import RunError
from plora.results.comparison.comparable import require_comparable, series
from plora.results.metrics.chance import Chance
from plora.results.metrics.run_cost import run_cost
from plora.results.pictures.figure import (
    FONT_POINTS,
    GRID,
    INK,
    MARKERS,
    MUTED,
    SERIES,
    new_figure,
    point_labels,
    subtitle,
    title,
)
from plora.results.pictures.scale import direction
from plora.results.record.run_record import RunRecord

WIDTH = 6.4
Cost = Literal["seconds", "trainable_parameters", "stored_bytes", "kept_bytes", "flops"]
AXES: dict[Cost, str] = {
    "seconds": "seconds of training, all tasks",
    "trainable_parameters": "trainable parameters, most of any task",
    "stored_bytes": "bytes kept to predict, all tasks",
    "kept_bytes": "bytes kept, after the last task",
    "flops": "floating-point operations, training of all tasks",
}
"""The label of each axis of cost."""


def cost_against_accuracy(records: Sequence[RunRecord], cost: Cost = "seconds", chance: Chance | None = None) -> Figure:
    """Draw the mean of the last row against what it cost, on a log axis, a labelled point per method.

    A point is the mean over the seeds of a method; its vertical line is ± one standard deviation of it, where
    there are two seeds or more. A cost of zero stands apart at the left end.
    Chance, mostly far below, is said in words.

    Raises:
        RunError: the runs must not be compared, or none has both an ACC and a cost.
    """
    require_comparable(records)
    of = records[0].score
    found: dict[str, tuple[float, list[float]]] = {}
    for label, runs in series(records).items():
        measured = [
            (float(spent), of.factor * score)
            for run in runs
            if run.cost
            and (spent := getattr(run_cost(run), cost)) is not None
            and (score := run.metrics["accuracy"].value) is not None
        ]
        if measured:
            found[label] = (float(np.mean([spent for spent, _ in measured])), [score for _, score in measured])
    if not found:
        raise RunError("no run has both its last row of accuracies and its cost; there is nothing to compare yet")
    positive = [value for value, _ in found.values() if value > 0]
    free = min(positive, default=10.0) / 4  # where a cost of zero is drawn
    points = [(value if value > 0 else free, float(np.mean(scores))) for value, scores in found.values()]
    figure, (ax,) = new_figure(WIDTH, 3.6)
    ax.set_xscale("log")
    low, high = min(x for x, _ in points), max(x for x, _ in points)
    margin = max((high / low) ** 0.08 * 1.15, 3 / (high / low) ** 0.5)  # equal costs must not be torn apart
    ax.set_xlim(low / margin, high * margin)
    tops = [max(scores) for _, scores in found.values()]
    bottoms = [min(scores) for _, scores in found.values()]
    room = 0.12 * (max(tops) - min(bottoms))
    if of.percent:
        room = max(2.0, room)
        ax.set_ylim(max(0, min(bottoms) - room), min(100.5, max(tops) + room))
    else:
        room = room or 0.05 * abs(max(tops)) or 0.5
        ax.set_ylim(min(bottoms) - room, max(tops) + room)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    for number, ((x, y), (_, scores)) in enumerate(zip(points, found.values(), strict=True)):
        colour, marker = SERIES[number % len(SERIES)], MARKERS[number % len(MARKERS)]
        if deviation := _deviation(scores):
            ax.plot([x, x], [y - deviation, y + deviation], color=colour, linewidth=1.4)
        ax.plot([x], [y], marker=marker, color=colour, markersize=7, markeredgecolor=INK, markeredgewidth=0.4)
    decades = np.log10(high / low)
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if decades > 2 else (1.0, 2.0, 5.0), numticks=12))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(positive) < len(found):
        ticks = [tick for tick in ax.get_xticks() if tick > 1.5 * free and low / margin <= tick <= high * margin]
        ax.set_xticks([free, *ticks], ["none", *(EngFormatter(sep="")(tick) for tick in ticks)])
        ax.axvline(free * 1.8, color=GRID, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    ax.tick_params(axis="x", which="minor", length=0)
    ax.set_xlabel(AXES[cost], fontsize=FONT_POINTS, color=MUTED)
    several = any(len(scores) > 1 for _, scores in found.values())
    unit = " (%)" if of.percent else direction(of)
    against = f"against its cost in {AXES[cost].split(',')[0]}"
    title(
        ax,
        f"Mean {records[0].split} {of.title} after the last task{unit} {against}",
        pad=22 if several or chance is not None else 10,
    )
    said = [f"point: mean over seeds · line: ± 1 standard deviation of the {of.title} over seeds"] if several else []
    if chance is not None:
        said.append(f"chance: {of.text(chance.mean)}")
    if said:
        subtitle(ax, " · ".join(said))
    names = [f"{n}, {len(s)} seeds" if len(s) > 1 else n for n, (_, s) in found.items()]
    point_labels(ax, points, names, [_deviation(scores) for _, scores in found.values()])
    return figure


def _deviation(scores: Sequence[float]) -> float:
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
