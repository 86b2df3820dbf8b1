"""What becomes of slots as tasks are learned: values of each over time, how many are used, whether like helps like."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plora.errors import RunError
from plora.results.metrics.interference import Interference
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
from plora.results.pictures.gate_plots import of_vector
from plora.results.pictures.plots import LINES, NAMES_UP_TO, colours_of, task_axis
from plora.results.record.run_record import RunRecord
from plora.results.record.thinning import spread_over
from plora.results.tables.folding import WHOLE_UP_TO

WIDTH = 6.4
FEW_POINTS = 200
"""More of them overlap, and are drawn pale."""


def vector_over_tasks(record: RunRecord, name: str) -> Figure:
    """Draw what a gate shows of each slot from the task that opened it on, one line per slot.

    Of more than WHOLE_UP_TO slots the lines of LINES are drawn, evenly spread over the stream.

    Args:
        record: of a run.
        name: of the vector, such as `share`.

    Raises:
        RunError: the record has no such vector.
    """
    values, stages, slots = of_vector(record, name)
    T, S = values.shape
    few, many = S <= NAMES_UP_TO, S > WHOLE_UP_TO
    figure, (ax,) = new_figure(WIDTH, 3.4 if few else 4.2)
    colours, x = colours_of(S), np.arange(1, T + 1)
    for k in spread_over(S, LINES) if many else range(S):
        marker = MARKERS[k % len(MARKERS)] if few else None if many else "."
        ax.plot(x, values[:, k], color=colours[k], marker=marker, markersize=4.5, linewidth=1.5 if few else 1.0)
    low, high = min(0.0, float(np.nanmin(values))), float(np.nanmax(values))
    room = 0.06 * (high - low) or 0.5
    ax.set(xlim=(0.8, T + (0.15 if T > 1 else 0.2)), ylim=(low - room / 2, high + room))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    if few:
        there = [k for k in range(S) if not np.isnan(values[-1, k])]
        ends = [float(values[-1, k]) for k in there]
        end_labels(ax, T, ends, [slots[k] for k in there], [colours[k] for k in there])
    task_axis(ax, stages)
    of = f"{LINES} of {S:,} slots" if many else "each slot"
    title(ax, f"{name.capitalize()} of {of}, from the task that it was opened for", pad=10 if few else 22)
    if not few:
        subtitle(ax, "dark: opened early · light: opened late")
    return figure


def active_slots(record: RunRecord) -> Figure:
    """Draw after each task how many slots were opened, how many predictions use, and how many the gate dropped.

    Raises:
        RunError: the record says nothing about slots.
    """
    states = [(number, state) for number, state in enumerate(record.slot_states, start=1) if state is not None]
    if not states:
        raise RunError("the record says nothing about slots: a version of plora wrote it that did not; run it again")
    x = np.array([number for number, _ in states])
    lines = {
        "opened": np.array([state.opened for _, state in states]),
        "active": np.array([state.active for _, state in states]),
        "pruned": np.array([state.pruned for _, state in states]),
    }
    figure, (ax,) = new_figure(WIDTH, 3.0)
    drawn = zip(lines.values(), (MUTED, SERIES[0], SERIES[1]), ((4, 2), "", (1, 1)), strict=True)
    for counts, colour, dashes in drawn:
        whole = len(x) <= WHOLE_UP_TO
        style = (0, dashes) if dashes else "-"
        ax.plot(x, counts, color=colour, linewidth=1.6, linestyle=style, marker="." if whole else None)
    ax.set(xlim=(0.8, x[-1] + 0.15), ylim=(-0.04 * max(1, lines["opened"].max()), 1.08 * max(1, lines["opened"].max())))
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ends = [float(counts[-1]) for counts in lines.values()]
    texts = [f"{name}, {counts[-1]}" for name, counts in lines.items()]
    end_labels(ax, float(x[-1]), ends, texts, [MUTED, SERIES[0], SERIES[1]])
    task_axis(ax, [cost.task for cost in record.cost])
    title(ax, "Slots after each task", pad=22)
    subtitle(ax, "active: predictions use them · pruned: the gate dropped them")
    return figure


def similarity_against_vector(record: RunRecord, found: Interference, name: str = "share") -> Figure:
    """Draw for each pair of tasks how alike their updates are, and what the later one's gate gives the earlier slot.

    A point is a pair k < t: the cosine of ΔW_k and ΔW_t over all layers, and the value of slot k after task t.

    Args:
        record: of a run.
        found: its slots, one per task.
        name: of the vector, such as `share`.

    Raises:
        RunError: the run has no such vector, or no pair of slots.
    """
    values, stages, slots = of_vector(record, name)
    row, column = {task: at for at, task in enumerate(stages)}, {slot: at for at, slot in enumerate(slots)}
    points = [
        (found.cosine[later, earlier], values[row[task], column[old]])
        for later, task in enumerate(found.tasks)
        for earlier, old in enumerate(found.tasks[:later])
        if task in row and old in column
    ]
    known = np.array([point for point in points if not np.isnan(point).any()])
    if not len(known):
        raise RunError("this run has no two slots whose updates could be compared")
    x, y = known.T
    figure, (ax,) = new_figure(WIDTH, 3.4)
    many = len(x) > FEW_POINTS
    ax.plot(
        x,
        y,
        linestyle="none",
        marker="o",
        color=SERIES[0],
        markersize=3.5 if many else 6,
        markeredgecolor=INK,
        markeredgewidth=0 if many else 0.4,
        alpha=0.35 if many else 1.0,
        rasterized=many,
    )
    ax.grid(color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.set_xlabel("cosine of the two updates ΔW", fontsize=FONT_POINTS, color=MUTED)
    ax.set_ylabel(f"{name} of the earlier slot", fontsize=FONT_POINTS, color=MUTED)
    title(ax, f"Does a task use slots that are like its own? ({name} against similarity)", pad=22)
    pairs = f"point: a pair of tasks, {len(x):,} in all"
    varied = len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0
    subtitle(ax, pairs + (f" · correlation {np.corrcoef(x, y)[0, 1]:+.2f}".replace("-", "−") if varied else ""))
    return figure
