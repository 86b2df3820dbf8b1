"""How much each slot contributes, and what its gate shows of it, by task and slot."""

import numpy as np
from matplotlib.figure import Figure

from plora.errors import RunError
from plora.results.pictures.figure import new_figure, subtitle, title
from plora.results.pictures.heatmap import NUMBERS_UP_TO, heatmap, slant, task_names
from plora.results.record.matrix import Matrix
from plora.results.record.run_record import RunRecord
from plora.results.tables.folding import WHOLE_UP_TO

WIDTH = 6.4
_MOST = 0.99
"""Of the cells of many slots, what the colours tell apart."""


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
    T = len(values)
    stages = list(record.tasks) if len(record.tasks) == T else slots
    return _by_task_and_slot(
        values,
        stages[:T],
        slots,
        "How much each slot contributes",
        "to the task just learned, mean over the layers · hatched: not on its route",
    )


def gate_vector(record: RunRecord, name: str) -> Figure:
    """Draw what a gate shows of each slot after each task: a row per task learned, a column per slot.

    A cell is the mean over the layers; hatched where there is no such slot: not yet, or no more.

    Args:
        record: of a run.
        name: of the vector, such as `share` or `magnitude`.

    Raises:
        RunError: the record has no such vector.
    """
    said = f"{name.capitalize()} of each slot after each task"
    return _by_task_and_slot(*of_vector(record, name), said, "mean over the layers · hatched: no such slot")


def vector_names(record: RunRecord) -> list[str]:
    """Return the names of what the gate of a run shows of its slots."""
    return list(dict.fromkeys(name for state in record.slot_states if state is not None for name in state.vectors))


def of_vector(record: RunRecord, name: str) -> tuple[Matrix, list[str], list[str]]:
    """Return a vector of a gate `[tasks learned, slots]`, NaN where there is no such slot, with tasks and slots.

    Raises:
        RunError: the record has no such vector.
    """
    found = [{} if state is None else state.vectors.get(name, {}) for state in record.slot_states]
    slots = list(dict.fromkeys(slot for vector in found for slot in vector))
    if not slots:
        known = ", ".join(vector_names(record)) or "none"
        raise RunError(f"the gate of this run shows no '{name}' of its slots (it shows: {known})")
    values = np.array([[vector.get(slot, np.nan) for slot in slots] for vector in found], dtype=np.float64)
    return values, [cost.task for cost in record.cost][: len(found)], slots


def _by_task_and_slot(values: Matrix, stages: list[str], slots: list[str], what: str, how_to_read: str) -> Figure:
    T, S = values.shape
    cell = float(np.clip(4.4 / max(T, S), 0.12, 0.62))
    size = float(np.clip(2.0 + 1.5 * cell * S, 4.4, WIDTH)), 1.5 + 0.8 * cell * min(T, WHOLE_UP_TO)
    figure, (ax,) = new_figure(*size)
    number = {task: str(at) for at, task in enumerate(stages, start=1)}
    many = S > NUMBERS_UP_TO
    names = [number.get(slot, slot) for slot in slots] if many else task_names(slots)
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=1.0))
    if (
        many and (top := float(np.nanquantile(values, _MOST))) > low and high > 1.2 * top
    ):  # the first slot has all, alone
        high = top
        how_to_read += f" · darkest: {_number(top)} and more"
    heatmap(ax, values, [f"after {name}" for name in task_names(stages)], names, "Blues", (low, high), _number)
    slant(ax, names)
    title(ax, what, pad=22)
    subtitle(ax, how_to_read)
    return figure


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".").replace("-", "−")
