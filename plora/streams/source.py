"""A table that was read, its columns, and what of its file is not in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from plora.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Source:
    """A table and the words for it in error messages, such as `train.csv`.

    Args:
        table: of the rows that were read.
        where: what to call it.
        left_out: how many rows, lines or files its reader left out, by reason.
        remarks: what a reader of the log should know of how it was read.
    """

    table: pa.Table
    where: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def column_of(source: Source, column: str) -> pa.ChunkedArray:
    """Return a column of the table.

    Raises:
        DataError: there is no such column, or there are several; names those that exist.
    """
    known = source.table.column_names
    if column not in known:
        raise DataError(
            f"{source.where} has no column '{column}'; its columns are: {', '.join(known) or 'none'}"
            f"{did_you_mean(column, known)}"
        )
    if known.count(column) > 1:
        raise DataError(f"{source.where} has several columns named '{column}'; keep one, or rename the others")
    return source.table.column(column)
