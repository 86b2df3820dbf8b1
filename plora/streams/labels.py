"""From the label column to label ids: names given, declared by the file or found; mapped; checked by row."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.columns import TableTask
from plora.streams.label_text import clean_label, looks_like
from plora.streams.lines import text_lines
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
_WHOLE, _FRACTION = re.compile(r"-?\d+(\.0*)?"), re.compile(r"-?\d*\.\d*[1-9]\d*")


def label_values(source: Source, columns: TableTask) -> list[str]:
    """Return the label of each row as it is written: a `clean_label`; whole numbers without a point."""
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
    known: dict[object, str] = {}
    texts = []
    for row, value in enumerate(values):
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = known.get(value) if isinstance(value, str) else str(value)
        if text is None:
            text = known[value] = clean_label(value)
        if value is None or text == "" or value != value:  # NaN alone differs from itself
            raise DataError(
                f"{source.where}, row {row + 1}: the label in column '{columns.label}' is missing; "
                "fill it in or drop the row"
            )
        if isinstance(value, float):
            raise DataError(
                f"{source.where}, row {row + 1}: the label {value} in '{columns.label}' is a fraction; "
                "labels are names or whole numbers"
            )
        texts.append(text)
    return texts


def label_ids(
    task: str, columns: TableTask, sources: Sequence[Source], found: Sequence[Sequence[str]]
) -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """Return the label names in order, and the id of each row of each source, −1 where `map` drops it.

    Numbers are read through the names that their own file declares; where it declares none, through `label_names`, or
    through those of the other files.

    Args:
        task: its name.
        columns: which column it is, the names and the map that are given.
        sources: the tables of the task.
        found: of each source, its `label_values`.

    Raises:
        DataError: a label has no name, or two files mean different things by a number; says which.
    """
    given = _given_names(columns)
    declared = [declared_label_names(source.table.schema, columns.label) for source in sources]
    for own in (given, *declared):
        if own is not None and (not own or len(set(own)) != len(own)):
            raise DataError(f"task '{task}': label_names must be different names, at least two, got {list(own)}")
    wanted = None if columns.map is None else _clean_map(columns.map)
    known = {*(given or ()), *(wanted or ()), *(name for own in declared for name in own or ())}
    found = _whole_numbers(found, known)
    values = [set(labels) for labels in found]
    numeric = [_are_numbers(each) for each in values]
    if given is None and wanted is None and not any(declared):
        _refuse_numbers_beside_names(task, sources, values, numeric)
    bases = _names_of_values(task, columns, given, declared, sources, values)
    every = {name for base in bases for name in base.values()}
    if given is not None:
        names = given
    elif declared[0] or (numeric[0] and any(declared)):  # and what another file declares beside it, where a row has it
        first = next(own for own in declared if own)
        names = tuple(dict.fromkeys((*first, *(name for own in declared for name in own or () if name in every))))
    else:  # by name too: "1" and "01" are equal numbers, and a set has no order
        names = tuple(sorted(every, key=lambda name: (int(name), name)) if _are_numbers(every) else sorted(every))
    for source, labels, base, is_id in zip(sources, found, bases, numeric, strict=True):
        row = next((row for row, value in enumerate(labels) if value not in base), None)
        if row is not None:
            value = labels[row]
            expected = f"0 to {len(names) - 1}" if is_id else ", ".join(names[:8])
            unlabelled = "; the hub writes -1 where a split has no labels" if value == "-1" else ""
            shown = value if len(value) <= 80 else f"{value[:80]}…"
            raise DataError(
                f"{source.where}, row {row + 1}: the label '{shown}' is not one of the {len(names)} "
                f"label_names ({expected}){looks_like(shown, names)}{unlabelled}; correct the row or label_names"
            )
    if wanted is None:
        place = {name: number for number, name in enumerate(names)}
    else:
        names, place = _mapped(task, wanted, bases, sources, found)
    ids = [
        np.array([place[base[value] if wanted is None else _key(value, base, wanted)] for value in labels], np.int64)
        for labels, base in zip(found, bases, strict=True)
    ]
    return names, ids


def _names_of_values(
    task: str,
    columns: TableTask,
    given: tuple[str, ...] | None,
    declared: Sequence[tuple[str, ...] | None],
    sources: Sequence[Source],
    values: Sequence[set[str]],
) -> list[dict[str, str]]:
    """For each source, the name of each of its values that has one."""
    known = given or next((own for own in declared if own), None)
    if known is None:
        return [{value: value for value in each} for each in values]
    numeric = [_are_numbers(each) for each in values]
    orders = _names_of_numbers(task, given, declared, sources, numeric)
    undeclared = [each for each, own, is_id in zip(values, declared, numeric, strict=True) if is_id and not own]
    are_names = set().union(*undeclared) <= set(known)  # all of them: a file may lack the one that is no name
    any_name = given is None and not declared[0] and not numeric[0]
    found = []
    for source, each, own, is_id, order in zip(sources, values, declared, numeric, orders, strict=True):
        is_name = are_names
        if own:
            is_name = each <= set(own) and not pa.types.is_integer(column_of(source, columns.label).type)
        if is_id and not is_name:
            found.append({value: order[int(value)] for value in each if 0 <= int(value) < len(order)})
        else:
            found.append({value: value for value in each if any_name or value in known or value in (own or ())})
    return found


def _given_names(columns: TableTask) -> tuple[str, ...] | None:
    """The names that the config gives."""
    if isinstance(columns.label_names, str):
        return read_label_names(Path(columns.label_names))
    return tuple(map(clean_label, columns.label_names)) if columns.label_names else None


def _are_numbers(values: set[str]) -> bool:
    return all(value.removeprefix("-").isdecimal() and len(value) < _LONGEST_NUMBER for value in values)


def _whole_numbers(found: Sequence[Sequence[str]], known: Collection[str]) -> Sequence[Sequence[str]]:
    """Write 3.0 as 3 where a file has whole numbers alone: so a program writes integers of which some were missing."""
    values = [set(labels) for labels in found]
    if any(_FRACTION.fullmatch(value) for each in values for value in each):
        return found
    return [
        [value.partition(".")[0] for value in labels]
        if not each <= set(known) and all(_WHOLE.fullmatch(value) for value in each)
        else labels
        for labels, each in zip(found, values, strict=True)
    ]


def _refuse_numbers_beside_names(
    task: str, sources: Sequence[Source], values: Sequence[set[str]], numeric: Sequence[bool]
) -> None:
    """Numbers in one file and names in another: nobody says which is which."""
    for source, each, is_id in zip(sources, values, numeric, strict=True):
        for other, theirs, also in zip(sources, values, numeric, strict=True):
            if is_id and not also and not each & theirs:
                some, names = (", ".join(f"'{value}'" for value in sorted(found)[:4]) for found in (each, theirs))
                raise DataError(
                    f"task '{task}': the labels of {source.where} are numbers ({some}) and those of {other.where} "
                    f"names ({names}); say which number is which: label_names: [name of 0, name of 1, …]"
                )


def _names_of_numbers(
    task: str,
    given: tuple[str, ...] | None,
    declared: Sequence[tuple[str, ...] | None],
    sources: Sequence[Source],
    numeric: Sequence[bool],
) -> list[tuple[str, ...]]:
    """For each source, the names of 0, 1, … in it: those that it declares, unless `label_names` gives others."""
    orders = list(dict.fromkeys(own for own in declared if own))
    if given is not None and any(set(own) == set(given) for own in orders):
        orders = list(dict.fromkeys((*orders, given)))
    found = []
    for source, own, is_id in zip(sources, declared, numeric, strict=True):
        if own and (given is None or set(own) == set(given)):
            found.append(own)
            continue
        if is_id and len(orders) > 1:
            first, second = orders[:2]
            number = next((n for n, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1), 0)
            raise DataError(
                f"task '{task}': label {number} of {source.where} may be '{first[number]}' or '{second[number]}', as "
                "the files and label_names have them in different orders; write names into its label column"
            )
        found.append(given or orders[0])
    return found


def _clean_map(mapping: Mapping[str | int, str | int | None]) -> dict[str, str | None]:
    return {clean_label(str(key)): None if value is None else clean_label(str(value)) for key, value in mapping.items()}


def _key(value: str, base: Mapping[str, str], wanted: Mapping[str, str | None]) -> str:
    """What a label is called in `map`: its name, or else its number (`map: {4: positive}`)."""
    return base[value] if base[value] in wanted else value


def _mapped(
    task: str,
    wanted: Mapping[str, str | None],
    bases: Sequence[Mapping[str, str]],
    sources: Sequence[Source],
    found: Sequence[Sequence[str]],
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names that `map` makes, and the id of each of its keys."""
    names = tuple(dict.fromkeys(value for value in wanted.values() if value is not None))
    if not names:
        raise DataError(f"task '{task}': map drops every row; give at least two labels a name")
    for source, base, labels in zip(sources, bases, found, strict=True):
        for value in base:
            if _key(value, base, wanted) not in wanted:
                raise DataError(
                    f"task '{task}': {source.where}, row {labels.index(value) + 1}: the label '{base[value]}' is not "
                    f"in map ({', '.join(wanted)}){looks_like(base[value], wanted)}; give it a name there, or null to "
                    "drop its rows"
                )
    return names, {key: -1 if name is None else names.index(name) for key, name in wanted.items()}


def read_label_names(path: Path) -> tuple[str, ...]:
    """Read one label name per line.

    Raises:
        DataError: no such file, not UTF-8, empty, or a name twice.
    """
    try:
        with path.open("rb") as file:
            names = [clean_label(line) for line in text_lines(file, f"label_names: '{path}'")]
    except FileNotFoundError:
        raise DataError(
            f"label_names: there is no file '{path}'; give a list, or a file with one name a line"
        ) from None
    except DataError:
        raise
    except (OSError, ValueError) as error:  # not even a path
        raise DataError(f"label_names: '{path}' cannot be read: {error}") from error
    return tuple(name for name in names if name)


def declared_label_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Return the names that `datasets` wrote for a ClassLabel column into the schema, or None."""
    try:
        info = json.loads((schema.metadata or {})[b"huggingface"])
        feature = info["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(map(clean_label, names))
