"""From tables to a task: which rows, in which split. Local files and the hub share it.

Every choice of rows is made by the hash of the text: the validation and test rows that are cut from train,
and the rows that a cap keeps, depend neither on the order of the rows nor on a seed. Rows stay in file order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Split, SplitName, Task, TextInput, Texts
from plora.streams.columns import TableSource, TableTask
from plora.streams.hashing import text_key
from plora.streams.held_out import capped, held_out
from plora.streams.labels import label_ids, label_values
from plora.streams.row_count import RowCount
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
) -> tuple[Task, dict[SplitName, RowCount]]:
    """Make a task of one to three tables, and count the rows of each.

    Args:
        name: of the task.
        columns: text, label and label names.
        caps: sizes and fractions.
        train, validation, test: a missing one is cut from train.

    Raises:
        DataError: a missing column, a missing or foreign value, too few classes or rows; names the row.
    """
    given: dict[SplitName, Source] = {"train": train}
    given |= {} if validation is None else {"validation": validation}
    given |= {} if test is None else {"test": test}
    for source in given.values():
        for column in (*columns.text_columns, columns.label):
            column_of(source, column)
    found = [label_values(source, columns) for source in given.values()]
    label_names, labels = label_ids(name, columns, [*given.values()], found)
    usable = {
        split: _usable_rows(source, columns, own) for (split, source), own in zip(given.items(), labels, strict=True)
    }
    pool = usable["train"]
    splits = dict(usable)
    cuts: tuple[tuple[SplitName, int | None, float, int | None], ...] = (
        ("test", caps.test_per_class, caps.test_fraction, None),
        ("validation", caps.validation_per_class, caps.validation_fraction, caps.train_per_class),
    )
    for split, wanted, fraction, cap in cuts:
        if split not in given:
            held = held_out(pool.keys, pool.labels, wanted, fraction, cap)
            splits[split], pool = pool.select(held), pool.select(~held)
    splits["train"] = pool
    most = {"train": caps.train_per_class, "validation": caps.validation_per_class, "test": caps.test_per_class}
    splits = {split: rows.select(capped(rows.keys, rows.labels, most[split])) for split, rows in splits.items()}
    counts = {split: _count(usable[split], [splits[split]]) for split in given}
    counts["train"] = _count(
        usable["train"], [splits[split] for split in splits if split == "train" or split not in given]
    )
    task = Task(
        name=name,
        label_names=tuple(f"{name}: {label}" for label in label_names) if caps.distinct_labels else label_names,
        train=_split(splits["train"], columns),
        validation=_split(splits["validation"], columns),
        test=_split(splits["test"], columns),
    )
    return task, counts


def _count(usable: _Rows, splits: Sequence[_Rows]) -> RowCount:
    """How many rows of a source are in the splits that are of it, and why the others are not."""
    source = usable.source
    rows, used = source.table.num_rows, sum(len(split.rows) for split in splits)
    own = {"dropped by map": rows - len(usable.rows), "above the caps": len(usable.rows) - used}
    return RowCount(rows + sum(source.left_out.values()), source.left_out, own, source.remarks)


def _usable_rows(source: Source, columns: TableTask, labels: NDArray[np.int64]) -> _Rows:
    keys = np.zeros(len(labels), dtype=np.uint64)
    for start in range(0, len(labels), _BATCH_ROWS):
        texts = texts_at(source, columns, np.arange(start, min(start + _BATCH_ROWS, len(labels))))
        keys[start : start + len(texts)] = [text_key(text) for text in texts]
    rows = np.flatnonzero(labels >= 0).astype(np.int64)  # −1 marks those that `map` drops
    return _Rows(source, rows, keys[rows], labels[rows])


def texts_at(source: Source, columns: TableTask, rows: NDArray[np.int64]) -> list[TextInput]:
    """Return the texts of some rows; empty ones are allowed (a model must stand them), nulls are not."""
    parts: list[list[str | None]] = []
    for name in columns.text_columns:
        column = column_of(source, name)
        if pa.types.is_dictionary(column.type) and not pa.types.is_nested(column.type.value_type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string_view(column.type):
            column = column.cast(pa.large_string())
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


def _split(rows: _Rows, columns: TableTask) -> Split:
    return Texts(inputs=tuple(texts_at(rows.source, columns, rows.rows)), labels=rows.labels)
