"""How much each slot contributes, as tasks are learned."""

import numpy as np
from matplotlib.figure import Figure

from plora.errors import RunError
from plora.results.pictures.figure import new_figure, subtitle, title
from plora.results.pictures.heatmap import heatmap, slant, task_names
from plora.results.record.run_record import RunRecord
from plora.results.tables.folding import WHOLE_UP_TO

WIDTH = 6.4


def gate_coefficients(record: RunRecord) -> Figure:
    """Draw the coefficient of each slot after each task: a row per task learned, a column per slot.

    A cell is the mean over the layers, on the route of the task just learned; hatched where the slot is not on it.

    Raises:
        RunError: the record holds no coefficients.
    """
    slots = list(dict.fromkeys(slot for learned in record.gates for slot in learned))
    if not slots:
        raise RunError("this run has no gate, or its record is of a version that did not hold the coefficients")
    values = np.array([[learned.get(slot, np.nan) for slot in slots] for learned in record.gates])
    T, S = values.shape
    cell = float(np.clip(4.4 / max(T, S), 0.12, 0.62))
    size = float(np.clip(2.0 + 1.5 * cell * S, 4.4, WIDTH)), 1.5 + 0.8 * cell * min(T, WHOLE_UP_TO)
    figure, (ax,) = new_figure(*size)
    stages = list(record.tasks) if len(record.tasks) == T else slots
    names = task_names(slots)
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=1.0))
    heatmap(ax, values, [f"after {name}" for name in task_names(stages[:T])], names, "Blues", (low, high), _number)
    slant(ax, names)
    title(ax, "How much each slot contributes", pad=22)
    subtitle(ax, "to the task just learned, mean over the layers · hatched: not on its route")
    return figure


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−")
