"""Tables for the terminal that are markdown too: aligned, percentages with one decimal, gaps visible."""

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from plora.results.figure import shorten
from plora.results.metrics import METRICS, seen_accuracy
from plora.results.record import RunRecord
from plora.results.runs import require_comparable

NOT_MEASURED = "–"
NOT_APPLICABLE = "n/a"
NAMES_UP_TO = 8  # tasks: with more, columns have numbers and a legend follows


def percent(value: float | None) -> str:
    """Return a fraction as "73.3", never "-0.0"; "n/a" for None, "–" for NaN."""
    if value is None:
        return NOT_APPLICABLE
    if np.isnan(value):
        return NOT_MEASURED
    return f"{round(100 * value, 1) + 0.0:.1f}"


def matrix_table(record: RunRecord) -> str:
    """Return the accuracy matrix in percent: a row per state, a column per task, and the mean over tasks
    seen.

    Row "before training" is left out when it was not measured.
    """
    T = len(record.tasks)
    named = T <= NAMES_UP_TO
    heads = [shorten(task, 16) if named else str(j) for j, task in enumerate(record.tasks, start=1)]
    rows = []
    if not np.isnan(record.matrix[0]).all():
        rows.append(["before training", *map(percent, record.matrix[0]), ""])
    for head, row, mean in zip(heads, record.matrix[1:], seen_accuracy(record.matrix), strict=True):
        rows.append([f"after {head}", *map(percent, row), percent(mean)])
    table = markdown_table(["accuracy %", *heads, "mean seen"], rows)
    if named:
        return table
    legend = [f"{j}: {' '.join(task.split())}" for j, task in enumerate(record.tasks, start=1)]
    return table + "\n" + "\n".join(legend) + "\n"


def summary_table(records: Sequence[RunRecord]) -> str:
    """Return a row per run with every metric in percent, and below the table the reason of each "n/a".

    Raises:
        RunError: the runs must not be compared; names the difference.
    """
    require_comparable(records)
    named = len({record.name for record in records}) > 1
    rows = []
    for record in records:
        cells = [f"{record.method} ({record.name})" if named else record.method, str(record.seed)]
        cells += [percent(metric.value) for metric in record.metrics.values()]
        parameters = max((cost.trainable_parameters for cost in record.cost), default=0)
        seconds = sum(cost.seconds for cost in record.cost)
        rows.append([*cells, f"{parameters:,}", f"{seconds:.0f}"])
    heads = ["method", "seed", *(metric.symbol for metric in METRICS), "trainable", "seconds"]
    reasons = "".join(line + "\n" for line in gaps(records))
    return markdown_table(heads, rows) + ("\n" + reasons if reasons else "")


def gaps(records: Sequence[RunRecord]) -> list[str]:
    """Return why metrics of these runs are "n/a": one line per reason, naming the metrics and the methods."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for record in records:
        for metric in record.metrics.values():
            if metric.reason is not None:
                methods = reasons.setdefault(metric.reason, {}).setdefault(metric.symbol, [])
                if record.method not in methods:
                    methods.append(record.method)
    lines = []
    everyone = {record.method for record in records}
    for reason, methods_of in reasons.items():
        symbols_of: dict[str, list[str]] = {}
        for symbol, methods in methods_of.items():
            whose = "" if len(methods) == len(everyone) else f" of {', '.join(methods)}"
            symbols_of.setdefault(whose, []).append(symbol)
        places = "; ".join(", ".join(symbols) + whose for whose, symbols in symbols_of.items())
        lines.append(f"n/a ({places}): {reason}")
    return lines


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned markdown table: first column to the left, the others to the right."""
    lines = [[_escaped(cell) for cell in row] for row in [heads, *rows]]
    widths = [max(3, *(cell_len(row[column]) for row in lines)) for column in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(
        "| " + " | ".join(_padded(cell, width, left=i == 0) for i, (cell, width) in enumerate(cells)) + " |\n"
        for cells in (list(zip(row, widths, strict=True)) for row in [lines[0], rule, *lines[1:]])
    )


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def _padded(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - cell_len(cell))  # a Chinese character takes two cells of a terminal
    return cell + space if left else space + cell
