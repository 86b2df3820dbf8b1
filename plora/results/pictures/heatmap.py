"""A matrix as coloured cells: numbers in them while they fit, a colour key when they do not."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.patches import Rectangle

from plora.results.pictures.cells import coloured_cells, hatched_cells
from plora.results.pictures.figure import FONT_POINTS, GRID, INK, MUTED
from plora.results.record.matrix import Matrix
from plora.results.tables.one_line import shorten

NUMBERS_UP_TO = 12  # rows or columns: beyond this a cell is too small for its number
NAMES_UP_TO = 30
CELLS_AS_SHAPES = 400  # more of them are an image inside the picture: a tenth of the bytes
DARK_TEXT, LIGHT_TEXT = "#0b0e13", "#f7f9fc"


def heatmap(
    ax: Axes,
    values: Matrix,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str,
    limits: tuple[float, float],
    number: Callable[[float], str] | None = None,
    hatched: bool = True,
) -> None:
    """Draw `values` `[rows, columns]`, the first row on top.

    Args:
        ax: whose axes become those of the matrix.
        values: NaN cells are hatched, or left empty without `hatched`.
        rows, columns: their names; of many, every n-th is written.
        colours: name of a matplotlib colour map.
        limits: values of its ends.
        number: the text of a cell; without it, or with more than NUMBERS_UP_TO rows or columns, a colour key stands
            beside the matrix.
    """
    R, C = values.shape
    map_, scale = colormaps[colours].with_extremes(bad=(0, 0, 0, 0)), Normalize(*limits)
    if hatched and np.isnan(values).any():
        hatched_cells(ax, values)
    mesh = coloured_cells(ax, values, 0.0, map_, scale, R * C > CELLS_AS_SHAPES)
    if max(R, C) <= NUMBERS_UP_TO:  # pale cells need an edge
        for i, j in np.argwhere(~np.isnan(values)):
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor="none", edgecolor=GRID, lw=0.6))
    if number is not None and max(R, C) <= NUMBERS_UP_TO:
        for i, j in np.argwhere(~np.isnan(values)):
            text = number(float(values[i, j]))
            colour = _readable_on(map_, scale(values[i, j]))
            ax.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=FONT_POINTS - 1, color=colour)
    else:
        figure = ax.get_figure(root=True)
        assert figure is not None, "axes always belong to a figure"
        key = figure.colorbar(mesh, ax=ax, shrink=0.7, aspect=25, pad=0.02)
        key.outline.set_visible(False)
        key.ax.tick_params(colors=MUTED, labelsize=FONT_POINTS - 1, length=2)
    ax.set(xlim=(0, C), ylim=(R, 0))
    for spine in ax.spines.values():
        spine.set_visible(False)
    small = FONT_POINTS - 1 if max(R, C) <= NUMBERS_UP_TO else FONT_POINTS - 2
    ax.set_xticks(*_ticks(columns), fontsize=small)
    ax.set_yticks(*_ticks(rows), fontsize=small)
    ax.tick_params(length=0, labelcolor=INK)


def task_names(tasks: Sequence[str]) -> list[str]:
    """Return the names of a few tasks, shortened; the numbers of many."""
    if len(tasks) > NUMBERS_UP_TO:
        return [str(number) for number in range(1, len(tasks) + 1)]
    return [shorten(task, 18) for task in tasks]


def slant(ax: Axes, columns: Sequence[str]) -> None:
    """Turn the names of the columns where they would not fit beside each other."""
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes always belong to a figure"
    room = 0.7 * figure.get_figwidth() / len(columns)  # inches
    written = _ticks(columns)[1]
    if max(map(len, written)) * 0.075 <= room * (len(columns) / len(written)):
        return
    many = len(columns) > NUMBERS_UP_TO
    ax.tick_params(axis="x", labelrotation=90 if many else 30)
    for label in ax.get_xticklabels():
        label.set_horizontalalignment("center" if many else "right")
        label.set_rotation_mode("default" if many else "anchor")


def _ticks(names: Sequence[str]) -> tuple[list[float], list[str]]:
    """Places and texts of the names that are written: all, or about 15 of them."""
    step = 1 if len(names) <= NAMES_UP_TO else int(np.ceil(len(names) / 15))
    return [i + 0.5 for i in range(0, len(names), step)], list(names[::step])


def _readable_on(colours: Colormap, value: float) -> str:
    red, green, blue, _ = colours(float(value))
    return DARK_TEXT if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else LIGHT_TEXT
