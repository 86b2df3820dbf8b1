"""One table before it has a format, as Markdown for the terminal and as CSV for programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.cells import cell_len

from plora.results.record.score import NOT_APPLICABLE
from plora.shown import markdown_cell, visible

GONE = "†"
"""Beside the name of a task that was taken out of its run."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Table:
    """One table before it has a format.

    Args:
        caption: what the cells are; LaTeX alone.
        heads: of the columns; the first is to the left, the others to the right.
        rows: cells as people read them.
        data_heads, data: the same for programs, under names that do not change.
        notes: lines below the table.
        best: by column, which end is best; the cells of such a column are compared as they are printed.
        legend: what numbered columns are; lines too, but one paragraph in LaTeX, where a page ends.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    data_heads: Sequence[str]
    data: Sequence[Sequence[object]]
    notes: Sequence[str] = ()
    best: Mapping[int, Literal["highest", "lowest"]] | None = None
    legend: Sequence[str] = ()


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
    return " ".join(markdown_cell(cell).split())


def _padded(cell: str, width: int, *, left: bool) -> str:
    space = " " * (width - cell_len(cell))  # a Chinese character takes two cells of a terminal
    return cell + space if left else space + cell


def csv_text(table: Table) -> str:
    """Return the numbers of a table as CSV, twelve digits each; no text in it is a formula of a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_data_cell, table.data_heads))
    for row in table.data:
        writer.writerow([_data_cell(cell) for cell in row])
    return text.getvalue()


def _data_cell(cell: object) -> str:
    if cell is None:
        return NOT_APPLICABLE
    if isinstance(cell, float):  # numpy's too; further digits differ between machines
        return "NaN" if np.isnan(cell) else f"{cell:.12g}"
    return _plain_text(cell) if isinstance(cell, str) else str(cell)


def _plain_text(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe before what would begin one and is no number."""
    if not text.startswith(_FORMULAS):
        return visible(text)
    try:
        float(text)
    except ValueError:
        return "'" + visible(text)
    return visible(text)
