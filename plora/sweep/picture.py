"""The picture of a search: what every trial reached, against each setting that was searched."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from pydantic import JsonValue

from plora.results.pictures.figure import FONT_POINTS, GRID, INK, MUTED, PAPER, SERIES
from plora.results.tables.one_line import shorten
from plora.sweep.search import OneOf, Range
from plora.sweep.study import Study

_IN_A_ROW = 3


def search_picture(study: Study) -> Figure:
    """Draw one panel for each setting, value on the validation split upwards, the chosen trial marked.

    Trials that failed are crosses below.

    Args:
        study: one that is over, with a trial that reached a value.
    """
    space = study.search.space
    columns = min(_IN_A_ROW, len(space))
    rows = math.ceil(len(space) / columns)
    figure = Figure(figsize=(1.0 + 2.7 * columns, 0.8 + 2.4 * rows), layout="constrained", facecolor=PAPER)
    panels: list[Axes] = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    for panel in panels[len(space) :]:
        panel.set_axis_off()
    for panel, (key, setting) in zip(panels, space.items(), strict=False):
        _panel(panel, study, key, setting)
    for panel in panels[::columns]:
        panel.set_ylabel(f"{study.head} on validation", fontsize=FONT_POINTS, color=INK)
    figure.suptitle(f"Search: {shorten(study.label, 60)}", x=0.01, ha="left", fontsize=FONT_POINTS + 1, color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=len(handles),
        frameon=False,
        fontsize=FONT_POINTS,
        labelcolor=INK,
    )
    return figure


def _panel(panel: Axes, study: Study, key: str, setting: Range | OneOf) -> None:
    panel.set_facecolor("none")
    for side, spine in panel.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
    panel.tick_params(which="both", colors=MUTED, labelsize=FONT_POINTS)
    panel.grid(axis="y", color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel(key, fontsize=FONT_POINTS, color=INK)
    values = [study.score.factor * (trial.value or 0.0) for trial in study.ranked]
    panel.scatter(
        [_place(setting, trial.settings[key]) for trial in study.ranked],
        values,
        s=22,
        color=SERIES[0],
        alpha=0.75,
        linewidth=0,
        label="trial",
    )
    if study.chosen is not None:
        panel.scatter(
            [_place(setting, study.chosen.settings[key])],
            [study.score.factor * (study.chosen.value or 0.0)],
            s=110,
            facecolor="none",
            edgecolor=SERIES[1],
            linewidth=1.8,
            label="chosen",
        )
    failed = [_place(setting, trial.settings[key]) for trial in study.trials if trial.failure]
    if failed:
        low = min(values) - 0.08 * max(max(values) - min(values), 1.0 if study.score.percent else 1e-3)
        panel.scatter(failed, [low] * len(failed), s=26, marker="x", color=MUTED, linewidth=1.2, label="failed")
    _scale(panel, setting)


def _place(setting: Range | OneOf, value: JsonValue) -> float:
    return setting.root.index(value) if isinstance(setting, OneOf) else float(value)  # type: ignore[arg-type]


def _scale(panel: Axes, setting: Range | OneOf) -> None:
    """Show the whole range that was searched, not only what was tried."""
    if isinstance(setting, OneOf):
        names = [shorten(str(value), 14) for value in setting.root]
        panel.set_xticks(range(len(names)), names)
        panel.set_xlim(-0.5, len(names) - 0.5)
        return
    low, high = float(setting.low), float(setting.high)
    if setting.log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** 0.04
        panel.set_xlim(low / margin, high * margin)
        return
    if setting.whole and high - low < 10:
        panel.set_xticks(np.arange(low, high + 1))
    panel.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low))
