"""A table that was read, and its columns."""

from dataclasses import dataclass

import pyarrow as pa

from plora.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Source:
    """A table and the words for it in error messages, such as `train.csv`."""

    table: pa.Table
    where: str


def column_of(source: Source, column: str) -> pa.ChunkedArray:
    """Return a column of the table.

    Raises:
        DataError: there is no such column; names those that exist.
    """
    known = source.table.column_names
    if column not in known:
        raise DataError(
            f"{source.where} has no column '{column}'; its columns are: {', '.join(known) or 'none'}"
            f"{did_you_mean(column, known)}"
        )
    return source.table.column(column)
