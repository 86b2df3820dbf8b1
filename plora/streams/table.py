"""From tables to a task: which rows, in which split. Local files and the hub share it.

Every choice of rows is made by the hash of the text: the validation and test rows that are cut from train,
and the rows that a cap keeps, depend neither on the order of the rows nor on a seed. Rows stay in file order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Split, Task, TextInput, Texts
from plora.streams.columns import TableSource, TableTask
from plora.streams.hashing import text_key
from plora.streams.held_out import capped, held_out
from plora.streams.labels import label_ids, label_values
from plora.streams.source import Source, column_of

_BATCH_ROWS = 10_000  # millions of texts are never Python strings all at once


@dataclass(frozen=True)
class _Rows:
    """The usable rows of one table: row numbers, hash keys and label ids, all `[N]`."""

    source: Source
    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    labels: NDArray[np.int64]

    def select(self, chosen: NDArray[np.bool_]) -> "_Rows":
        return _Rows(self.source, self.rows[chosen], self.keys[chosen], self.labels[chosen])


def task_from_tables(
    name: str,
    columns: TableTask,
    caps: TableSource,
    train: Source,
    validation: Source | None,
    test: Source | None,
) -> Task:
    """Make a task of one to three tables.

    Args:
        name: of the task.
        columns: text, label and label names.
        caps: sizes and fractions.
        train, validation, test: a missing one is cut from train.

    Raises:
        DataError: a missing column, a missing or foreign value, too few classes or rows; names the row.
    """
    given = [source for source in (train, validation, test) if source is not None]
    found = [label_values(source, columns) for source in given]
    label_names, ids = label_ids(name, columns, given, found)
    usable = [_usable_rows(source, columns, values, ids) for source, values in zip(given, found, strict=True)]

    pool = usable.pop(0)
    held_validation = None if validation is None else usable.pop(0)
    if test is None:
        held = held_out(pool.keys, pool.labels, caps.test_per_class, caps.test_fraction, None)
        held_test, pool = pool.select(held), pool.select(~held)
    else:
        held_test = usable.pop(0)
    if held_validation is None:
        wanted, fraction = caps.validation_per_class, caps.validation_fraction
        held = held_out(pool.keys, pool.labels, wanted, fraction, caps.train_per_class)
        held_validation, pool = pool.select(held), pool.select(~held)
    return Task(
        name=name,
        label_names=tuple(f"{name}: {label}" for label in label_names) if caps.distinct_labels else label_names,
        train=_split(_capped(pool, caps.train_per_class), columns),
        validation=_split(_capped(held_validation, caps.validation_per_class), columns),
        test=_split(_capped(held_test, caps.test_per_class), columns),
    )


def _usable_rows(source: Source, columns: TableTask, values: Sequence[str], ids: Mapping[str, int | None]) -> _Rows:
    # −1 marks the rows that `map` drops.
    labels = np.array([-1 if (label := ids[value]) is None else label for value in values], dtype=np.int64)
    keys = np.zeros(len(values), dtype=np.uint64)
    for start in range(0, len(values), _BATCH_ROWS):
        texts = _texts(source, columns, np.arange(start, min(start + _BATCH_ROWS, len(values))))
        keys[start : start + len(texts)] = [text_key(text) for text in texts]
    rows = np.flatnonzero(labels >= 0).astype(np.int64)
    return _Rows(source, rows, keys[rows], labels[rows])


def _texts(source: Source, columns: TableTask, rows: NDArray[np.int64]) -> list[TextInput]:
    """Return the texts of some rows; empty ones are allowed (a model must stand them), nulls are not."""
    parts: list[list[str | None]] = []
    for name in columns.text_columns:
        column = column_of(source, name)
        if pa.types.is_dictionary(column.type) and not pa.types.is_nested(column.type.value_type):
            column = column.cast(column.type.value_type)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise DataError(f"{source.where}: column '{name}' holds {column.type}, but texts were expected")
        try:
            parts.append(column.take(pa.array(rows)).to_pylist())
        except UnicodeDecodeError as error:
            raise DataError(f"{source.where}: column '{name}' is not UTF-8 text: {error}") from error
    texts: list[TextInput] = []
    for place, row in enumerate(rows.tolist()):
        present = [column[place] for column in parts if column[place] is not None]
        if not present or (columns.join is None and len(present) < len(parts)):
            names = " and ".join(f"'{name}'" for name in columns.text_columns)
            raise DataError(
                f"{source.where}, row {row + 1}: the text in {names} is missing; write an empty text, or drop the row"
            )
        strings = [part for part in present if part is not None]
        if columns.join is not None:
            texts.append(columns.join.join(part for part in strings if part))
        elif len(strings) == 1:
            texts.append(strings[0])
        else:
            texts.append((strings[0], strings[1]))
    return texts


def _capped(rows: _Rows, cap: int | None) -> _Rows:
    return rows.select(capped(rows.keys, rows.labels, cap))


def _split(rows: _Rows, columns: TableTask) -> Split:
    return Texts(inputs=tuple(_texts(rows.source, columns, rows.rows)), labels=rows.labels)
