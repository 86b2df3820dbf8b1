"""A matrix of scores that somebody else wrote: CSV with or without names, with or without row 0, percent or fraction.

Nothing is guessed silently: what can be read in two ways is refused, with the option that decides.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.results.record.matrix import Matrix, MetricError, checked
from plora.results.record.score import ACCURACY, Score

MISSING = ("", "nan", "na", "n/a", "none", "null", "-", "–", "—")
"""Texts of a cell that was not measured, in any case."""


@dataclass(frozen=True, eq=False)
class MatrixFile:
    """What a file says.

    Args:
        tasks: T names in the order of the columns; "task 1" … where the file has none.
        matrix: `[T + 1, T]` fractions; row 0 is NaN where the file has T rows.
        notes: what a reader should know, one line each.
    """

    tasks: tuple[str, ...]
    matrix: Matrix
    notes: tuple[str, ...]


def read_matrix(
    path: Path,
    percent: bool = False,
    header: bool | None = None,
    row_names: bool | None = None,
    score: Score = ACCURACY,
) -> MatrixFile:
    """Read a matrix of scores: T rows (after each task), or T + 1 (before training first), and T columns.

    Columns stay in the order of the file; the names are never sorted. Separators are tabs, semicolons or commas,
    whichever of them the first line has (in this order). An empty cell, `nan`, `n/a` and the like are not measured.

    Args:
        path: of the file.
        percent: cells are percentages, 0 to 100; otherwise they are fractions, 0 to 1.
        header: whether the first line has the names of the tasks; None: it does where a cell is not a number.
        row_names: whether the first column has names; None: it does where a cell is not a number.
        score: what a cell is; it decides the range.

    Raises:
        MetricError: the file cannot be read, is no such matrix, or can be read in two ways; one line.
    """
    rows = _cells(path)
    header = _has_header(path, rows) if header is None else header
    heads, rows = (rows[0], rows[1:]) if header else ([], rows)
    if not rows:
        raise MetricError(f"{path} has names but no numbers")
    row_names = _has_row_names(path, heads, rows) if row_names is None else row_names
    if row_names:
        heads, rows = heads[1:], [row[1:] for row in rows]
    count, T = len(rows), len(rows[0])
    if T < 1 or count not in (T, T + 1):
        raise MetricError(
            f"{path} has {count} rows of {T} numbers; T tasks need T columns and T rows (after each task), or T + 1 "
            "rows (before training first). Write an empty cell for what was not measured"
        )
    cells = np.array([[_number(path, cell) for cell in row] for row in rows])
    fractions = _fractions(path, cells, percent, score)
    matrix = checked(fractions if count > T else np.vstack([np.full(T, np.nan), fractions]))
    notes = [] if header else ["The file names no tasks; they are numbered in the order of its columns."]
    if T > 1 and not np.triu(np.nan_to_num(matrix[1:], nan=1.0), k=1).any():
        notes.append(
            "Every cell above the diagonal is 0. If those were not measured, leave them empty: FWT would take them "
            "for accuracies."
        )
    return MatrixFile(tuple(heads) or tuple(f"task {j}" for j in range(1, T + 1)), matrix, tuple(notes))


def read_row(path: Path, percent: bool = False, score: Score = ACCURACY) -> Matrix | None:
    """Read a file with one line of accuracies, names above or in front of it or not; None for a file with more lines.

    Args:
        path: of the file.
        percent, score: as in `read_matrix`.

    Returns:
        `[T]` fractions.

    Raises:
        MetricError: as `read_matrix`.
    """
    rows = _cells(path)
    if len(rows) > 1 and any(_is_name(cell) for cell in rows[0][1:] or rows[0]):
        rows = rows[1:]
    if len(rows) > 1:
        return None
    row = rows[0][1:] if _is_name(rows[0][0]) else rows[0]
    return _fractions(path, np.array([_number(path, cell) for cell in row]), percent, score)


def _cells(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeError:
        raise MetricError(f"{path} is not UTF-8 text; give a CSV file or a run folder") from None
    except OSError as error:
        raise MetricError(f"{path} cannot be read: {error.strerror}; give a CSV file or a run folder") from None
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise MetricError(f"{path} is empty; an accuracy matrix has a row after each task and a column per task")
    separator = next((mark for mark in "\t;" if mark in lines[0]), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as error:
        raise MetricError(f"{path} is not CSV: {error}") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise MetricError(
                f"{path}: line {number} has {len(row)} cells, line 1 has {len(rows[0])}; "
                "write an empty cell for what was not measured"
            )
    return rows


def _has_header(path: Path, rows: list[list[str]]) -> bool:
    first = rows[0]
    if any(_is_name(cell) for cell in first[1:] or first):
        return True
    if _counts(first) or (len(first) > 2 and _counts(first[1:])):
        raise MetricError(
            f"{path}: line 1 counts ({', '.join(first[:4])}{', …' if len(first) > 4 else ''}); "
            "say --header if those are names of tasks, --no-header if they are accuracies"
        )
    return False


def _has_row_names(path: Path, heads: list[str], rows: list[list[str]]) -> bool:
    first = [row[0] for row in rows]
    if any(_is_name(cell) for cell in first) or (heads and not heads[0]) or len(rows[0]) == len(rows) + 1:
        return True
    if len(rows) > 2 and _counts(first):
        raise MetricError(
            f"{path}: the first column counts ({', '.join(first[:3])}, …); "
            "say --row-names if those are names, --no-row-names if they are accuracies"
        )
    return False


def _is_name(cell: str) -> bool:
    if cell.lower() in MISSING:
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def _counts(cells: list[str]) -> bool:
    """Whether the cells are 0, 1, 2, … or 1, 2, 3, …"""
    return len(cells) > 1 and cells in ([str(i) for i in range(start, start + len(cells))] for start in (0, 1))


def _number(path: Path, cell: str) -> float:
    if cell.lower() in MISSING:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise MetricError(
            f"{path}: '{cell[:40]}' is not a number; write accuracies with a decimal point and without %, "
            "and an empty cell for what was not measured"
        ) from None


def _fractions(path: Path, cells: Matrix, percent: bool, score: Score) -> Matrix:
    known = cells[~np.isnan(cells)]
    if not len(known):
        raise MetricError(f"{path} has no number")
    highest, lowest = float(known.max()), float(known.min())
    if not score.percent:
        if percent:
            raise MetricError(f"{path}: {score.title} is no percentage; leave out --percent")
        score.require(cells, str(path))
        return cells
    if lowest < 0:
        raise MetricError(f"{path}: a cell is {lowest:g}; {score.title} is never negative")
    if not percent:
        if highest > 1:
            raise MetricError(f"{path}: a cell is {highest:g}, more than 1; say --percent if these are percentages")
        return cells
    if highest > 100:
        raise MetricError(f"{path}: a cell is {highest:g}, more than 100 percent")
    if highest <= 1:
        raise MetricError(f"{path}: no cell is more than 1; leave out --percent if these are fractions")
    return cells / 100
