"""A stream of texts or images with one or more numbers each, from tables."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from plora.errors import DataError
from plora.streams.base import SplitName, Stream
from plora.streams.target_tables import Read, Table, TargetTables, TargetTask, stream_of, tables_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NumberTask(TargetTask):
    """One task from tables: CSV or TSV with a header, JSON lines, or parquet.

    - {name: flats, train: flats.csv, targets: price}
    - {name: weather, train: weather.csv, targets: [temperature, rain]}
    - {name: poses, train: poses.jsonl, targets: angles}     # a column of lists of numbers
    """

    targets: str | tuple[str, ...] = "target"
    """The column with the number of each example, or with a list of as many numbers in every row; or several columns of
    a number each."""

    @field_validator("targets")
    @classmethod
    def _some_columns(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not columns or (not isinstance(columns, str) and len(set(columns)) != len(columns)):
            raise ValueError(f"targets must name one column or several different ones, got {columns!r}")
        return columns


class NumberStream(TargetTables):
    """Texts or images with one or more numbers each, from local tables; for `problem: {kind: text_regression}`."""

    kind: Literal["numbers"] = "numbers"

    name: str = Field(default="numbers", min_length=1)
    """Name of the stream, shown in reports."""

    tasks: tuple[NumberTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are learned."""

    def load(self) -> Stream:
        """Read the files and cut the splits that are missing.

        Raises:
            DataError: a file, a row, a column or a number that cannot be used; says which.
        """
        from plora.streams.targeted import Numbers

        read = []
        for task in self.tasks:
            columns = (task.targets,) if isinstance(task.targets, str) else task.targets
            tables = tables_of(task, columns)
            read.append((task, tables, _read(columns, tables)))
        return stream_of(self.name, self, read, Numbers, ("task", "domain"))


def _read(columns: Sequence[str], tables: Mapping[SplitName, Table]) -> Read:
    import numpy as np

    parts = {
        split: [_column(table.where, name, table.values[name]) for name in columns] for split, table in tables.items()
    }
    widths = [found.shape[1] for found in parts["train"]]
    for split, own in parts.items():
        for name, found, width in zip(columns, own, widths, strict=True):
            if found.shape[1] != width:
                raise DataError(
                    f"{tables[split].where}: column '{name}' has {found.shape[1]} numbers in every row, and "
                    f"{tables['train'].where} has {width}; give as many"
                )
    names = [
        name if width == 1 else f"{name} {number + 1}"
        for name, width in zip(columns, widths, strict=True)
        for number in range(width)
    ]
    return names, {split: np.concatenate(own, 1) for split, own in parts.items()}


def _column(where: str, name: str, values: Sequence[object]) -> "NDArray[np.float64]":
    """The numbers of a column, `[N, k]`; of lists, which are of equal length, k of each."""
    import numpy as np

    first = values[0]
    k = len(first) if isinstance(first, list) else 1
    found = np.zeros((len(values), k))
    for row, value in enumerate(values):
        place = f"{where}, row {row + 1}, column '{name}'"
        parts = value if isinstance(value, list) else [value]
        if not parts:
            raise DataError(f"{place}: the list is empty; every row has a number at least")
        if len(parts) != k or isinstance(value, list) != isinstance(first, list):
            raise DataError(f"{place}: {len(parts)} numbers, and row 1 has {k}; give every row as many")
        found[row] = [_number(place, part) for part in parts]
    return found


_LARGEST = 1e30
"""fp32 ends at 3.4e38."""


def _number(place: str, value: object) -> float:
    if value is None or value == "":
        raise DataError(f"{place}: the number is missing; fill it in, or drop the row")
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not math.isfinite(number):
        raise DataError(f"{place}: {value!r:.60} is no finite number; correct it, or drop the row")
    if abs(number) > _LARGEST:
        raise DataError(
            f"{place}: {number:g} is beyond {_LARGEST:g}, what is learned; correct it, or choose another unit"
        )
    return number
