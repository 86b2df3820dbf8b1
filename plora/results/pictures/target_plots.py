"""How well labels are given, and how far numbers are off: pictures of what was measured after the last task."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plora.results.pictures.figure import FONT_POINTS, MUTED, PAPER, SERIES, new_figure, subtitle, title
from plora.results.record.label_scores import LabelScores
from plora.results.record.predicted_numbers import PredictedNumbers
from plora.results.tables.folding import shown
from plora.results.tables.one_line import shorten

WIDTH, ACROSS, PANELS = 6.4, 3, 6
POINTS = 1000
"""Of a panel; of more examples that many, evenly spread."""


def f1_of_labels(measured: LabelScores) -> Figure:
    """Draw F1 and average precision of each label that an example has or was given; of many the first and the last.

    Args:
        measured: after one row of the matrix.
    """
    f1, precision = 100 * measured.f1(), 100 * measured.average_precisions()
    asked = np.flatnonzero(~np.isnan(f1))
    chosen = asked[shown(len(asked), ends=10)]
    figure, (ax,) = new_figure(WIDTH, float(np.clip(1.2 + 0.22 * len(chosen), 2.0, 9.0)))
    places = np.arange(len(chosen))[::-1]
    ax.barh(places, f1[chosen], height=0.6, color=SERIES[0], label="F1")
    ax.plot(precision[chosen], places, "D", color=SERIES[1], markersize=4, label="average precision")
    ax.set_yticks(places, [shorten(measured.class_names[label], 30) for label in chosen])
    ax.set_xlim(0, 100)
    ax.set_ylim(-0.6, len(chosen) - 0.4)
    ax.set_xlabel("%", fontsize=FONT_POINTS, color=MUTED)
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=FONT_POINTS - 1)
    more = f", {len(asked) - len(chosen):,} more left out" if len(chosen) < len(asked) else ""
    title(ax, f"Labels after the last task{more}")
    return figure


def numbers_against_targets(measured: PredictedNumbers, tasks: Sequence[str], unit: str) -> Figure:
    """Draw predicted against true numbers, a panel for each task; of more than six the first and the last three.

    Of several numbers of a task each has a colour.

    Args:
        measured: after one row of the matrix.
        tasks: in their order; those without examples are left out.
        unit: of the numbers; empty where there is none.
    """
    parts = measured.by_task()
    names = [task for task in tasks if task in parts]
    if len(names) > PANELS:
        names = [*names[: PANELS // 2], *names[-PANELS // 2 :]]
    rows = -(-len(names) // ACROSS)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.1 * rows), layout="constrained", facecolor=PAPER)
    panels = figure.subplots(rows, ACROSS, squeeze=False).ravel().tolist()
    for ax, name in zip(panels, names, strict=False):
        _panel(ax, parts[name], shorten(name, 24))
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    figure.supxlabel(f"true number{f' ({unit})' if unit else ''}", fontsize=FONT_POINTS, color=MUTED)
    figure.supylabel("predicted", fontsize=FONT_POINTS, color=MUTED)
    return figure


def _panel(ax: Axes, measured: PredictedNumbers, name: str) -> None:
    ax.set_facecolor("none")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(colors=MUTED, labelsize=FONT_POINTS - 2, length=3)
    each = int(measured.starts[1])
    chosen = np.linspace(0, len(measured) - 1, min(len(measured), POINTS)).round().astype(np.int64)
    targets, predictions = (flat.reshape(-1, each)[chosen] for flat in (measured.target, measured.prediction))
    low = float(targets.min())
    ax.axline((low, low), slope=1, color=MUTED, linewidth=0.7)
    for number in range(each):
        colour = SERIES[number % len(SERIES)]
        ax.plot(targets[:, number], predictions[:, number], ".", color=colour, markersize=3, alpha=0.5)
    title(ax, name, pad=22)
    error = float(np.abs(measured.prediction - measured.target).mean())
    subtitle(ax, f"mean error {error:.3g}, line: as true")
