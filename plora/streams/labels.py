"""From the label column to label ids: names given, declared by the file or found; mapped; checked by row."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from plora.errors import DataError
from plora.streams.columns import TableTask
from plora.streams.source import Source, column_of

_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_null,
)
"""What a label column may hold; floats must be whole numbers."""
_LONGEST_NUMBER = 20  # digits; longer ones are names


def label_values(source: Source, columns: TableTask) -> list[str]:
    """Return the label of each row as text; integers, also written as 3.0 or "3", as "3"."""
    column = column_of(source, columns.label)
    if source.table.num_rows == 0:
        raise DataError(f"{source.where} has no rows; a task needs examples of at least two classes")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not any(is_kind(kind) for is_kind in _KINDS):
        raise DataError(f"{source.where}: column '{columns.label}' holds {column.type}; labels are names or integers")
    try:
        values = column.to_pylist()
    except UnicodeDecodeError as error:
        raise DataError(f"{source.where}: column '{columns.label}' is not UTF-8 text: {error}") from error
    texts = []
    for row, value in enumerate(values):
        if value is None or value == "" or value != value:  # NaN alone differs from itself
            raise DataError(
                f"{source.where}, row {row + 1}: the label in column '{columns.label}' is missing; "
                "fill it in or drop the row"
            )
        if isinstance(value, float):
            if not value.is_integer():
                raise DataError(
                    f"{source.where}, row {row + 1}: the label {value} in '{columns.label}' is a fraction; "
                    "labels are names or whole numbers"
                )
            value = int(value)
        texts.append(str(value))
    return texts


def label_ids(
    task: str, columns: TableTask, sources: Sequence[Source], found: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """Return the label names in order, and the id of each value found, None where its rows are dropped."""
    values = {value for labels in found for value in labels}
    names: tuple[str, ...] | None
    if isinstance(columns.label_names, str):
        names = read_label_names(Path(columns.label_names))
    else:
        names = columns.label_names or declared_label_names(sources[0].table.schema, columns.label)
    if names is not None and (not names or len(set(names)) != len(names)):
        raise DataError(f"task '{task}': label_names must be different names, at least two, got {list(names)}")

    numeric = all(value.removeprefix("-").isdecimal() and len(value) < _LONGEST_NUMBER for value in values)
    if names is None:  # by name too: "1" and "01" are equal numbers, and a set has no order
        names = tuple(sorted(values, key=lambda value: (int(value), value)) if numeric else sorted(values))
        base = {value: value for value in values}
    elif values <= set(names):
        base = {value: value for value in values}
    elif numeric:
        base = {value: names[int(value)] for value in values if 0 <= int(value) < len(names)}
    else:
        base = {value: value for value in values & set(names)}
    for source, labels in zip(sources, found, strict=True):
        for row, value in enumerate(labels):
            if value not in base:
                expected = f"0 to {len(names) - 1}" if numeric else ", ".join(names[:8])
                shown = value if len(value) <= 80 else f"{value[:80]}…"
                raise DataError(
                    f"{source.where}, row {row + 1}: the label '{shown}' is not one of the {len(names)} "
                    f"label_names ({expected}); correct the row or label_names"
                )
    if columns.map is None:
        return names, {value: names.index(base[value]) for value in values}
    return _mapped(task, columns.map, base)


def _mapped(
    task: str, mapping: Mapping[str | int, str | int | None], base: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, int | None]]:
    wanted = {str(key): None if value is None else str(value) for key, value in mapping.items()}
    names = tuple(dict.fromkeys(value for value in wanted.values() if value is not None))
    if not names:
        raise DataError(f"task '{task}': map drops every row; give at least two labels a name")
    ids: dict[str, int | None] = {}
    for value, name in base.items():
        key = name if name in wanted else value  # by name first, but `map: {4: positive}` may give the number
        if key not in wanted:
            raise DataError(
                f"task '{task}': the label '{name}' is not in map ({', '.join(wanted)}); "
                "give it a name there, or null to drop its rows"
            )
        target = wanted[key]
        ids[value] = None if target is None else names.index(target)
    return names, ids


def read_label_names(path: Path) -> tuple[str, ...]:
    """Read one label name per line.

    Raises:
        DataError: no such file, not UTF-8, empty, or a name twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except FileNotFoundError:
        raise DataError(
            f"label_names: there is no file '{path}'; give a list, or a file with one name a line"
        ) from None
    except (OSError, ValueError) as error:  # not UTF-8, or not even a path
        raise DataError(f"label_names: '{path}' cannot be read as UTF-8 text: {error}") from error
    return names


def declared_label_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Return the names that `datasets` wrote for a ClassLabel column into the schema, or None."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        feature = info["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
