"""Why it forgets, in three pictures: how far each layer moved, which tasks share directions, which undo each other."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from plora.results.metrics.interference import Interference
from plora.results.pictures.figure import FONT_POINTS, MUTED, new_figure, subtitle, title
from plora.results.pictures.heatmap import heatmap, slant, task_names
from plora.results.record.matrix import Matrix
from plora.results.tables.folding import WHOLE_UP_TO
from plora.results.tables.one_line import shorten

WIDTH = 6.4


def layer_drift(found: Interference) -> Figure:
    """Draw how far each task moved the weight of each layer: ‖D‖_F, a row per layer, a column per task."""
    values = found.drift.T
    L, T = values.shape
    names = _names(found)
    figure, (ax,) = new_figure(float(np.clip(2.2 + 0.62 * T, 4.4, WIDTH)), float(np.clip(1.1 + 0.2 * L, 1.8, 7.5)))
    highest = float(np.nanmax(values)) or 1.0
    heatmap(ax, values, layer_names(found.layers), names, "Blues", (0, highest))
    slant(ax, names)
    verb = "gained in" if found.shared else "added to"
    title(ax, f"What each task {verb} each layer, ‖ΔW‖{_some(found)}")
    return figure


def overlap_of_tasks(found: Interference) -> Figure:
    """Draw the overlap of the input directions of each pair of tasks, in percent."""
    figure = _pairs(found, 100 * found.overlap, "Blues", (0, 100), lambda value: f"{value:.0f}")
    shown = (
        "Input directions that the slot kept between tasks" if found.shared else "Input directions that two tasks share"
    )
    title(figure.axes[0], f"{shown} (%){_some(found)}", pad=22)
    chance = (
        "" if np.isnan(found.chance) else f"0: orthogonal · random directions: {100 * found.chance:.1f} · 100: same"
    )
    subtitle(figure.axes[0], chance)
    return figure


def interference_of_tasks(found: Interference) -> Figure:
    """Draw the cosine between the updates of each pair of tasks."""
    size = np.abs(found.cosine[np.tri(len(found.tasks), k=-1, dtype=bool)])
    end = max(0.25, float(np.nanmax(size, initial=0.0)))  # noise must not look like a clash
    figure = _pairs(found, found.cosine, "PuOr", (-end, end), _signed)
    title(figure.axes[0], f"Do two tasks change the same weights? (cosine of ΔW){_some(found)}", pad=22)
    subtitle(figure.axes[0], "below 0: the later task undoes the earlier · 0: no interference · above 0: they agree")
    return figure


def _names(found: Interference) -> list[str]:
    """Names or numbers of the tasks; of some tasks their numbers among all."""
    return task_names(found.tasks) if len(found.tasks) == found.of else [str(number) for number in found.numbers]


def _some(found: Interference) -> str:
    """What a title says where not every task was measured."""
    return "" if len(found.tasks) == found.of else f"; {len(found.tasks)} of {found.of:,} tasks"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def layer_names(layers: Sequence[str]) -> list[str]:
    """Return what tells layers apart: their paths without the parts that all have in common."""
    parts = [layer.split(".") for layer in layers]
    if len(layers) > 1 and len({len(part) for part in parts}) == 1:
        telling = [k for k in range(len(parts[0])) if len({part[k] for part in parts}) > 1]
        parts = [[part[k] for k in telling] for part in parts]
    return [shorten(".".join(part), 24) for part in parts]


def _pairs(
    found: Interference, values: Matrix, colours: str, limits: tuple[float, float], number: Callable[[float], str]
) -> Figure:
    """The pairs of tasks below the diagonal: a row per later task, a column per earlier one."""
    T = len(found.tasks)
    if T < 2:
        figure, (ax,) = new_figure(4.4, 1.2)
        ax.set_axis_off()
        ax.text(0, 0.5, "one task: there is no pair to compare", fontsize=FONT_POINTS, color=MUTED)
        return figure
    pairs = np.where(np.tri(T, T, -1, dtype=bool), values, np.nan)[1:, :-1]
    cell = float(np.clip(4.4 / T, 0.12, 0.62))
    figure, (ax,) = new_figure(float(np.clip(1.6 + 1.5 * cell * T, 5.0, WIDTH)), 1.3 + 0.8 * cell * min(T, WHOLE_UP_TO))
    names = _names(found)
    heatmap(ax, pairs, names[1:], names[:-1], colours, limits, number, hatched=False)
    slant(ax, names)
    return figure
