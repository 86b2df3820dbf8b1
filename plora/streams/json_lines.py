"""JSON lines: one object per line, a mistake named by its line."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from plora.errors import DataError
from plora.streams.delimited import BLANK
from plora.streams.lines import text_lines
from plora.streams.source import Source

_HALF = re.compile(r"[\ud800-\udfff]")


def read_json_lines(path: Path, columns: Sequence[str]) -> Source:
    """Read a file of JSON lines; every cell that is used is a text.

    Args:
        path: of the file.
        columns: those that are used.

    Raises:
        DataError: a line is no JSON object, or holds something else than text or a number; names the line.
    """
    values: dict[str, list[str | None]] = {}
    count = blank = 0
    for number, record in json_records(path, columns):
        if record is None:
            blank += 1
            continue
        for name in [name for name in record if name not in values]:
            values[name] = [None] * count
        for name, column in values.items():
            column.append(_cell(record.get(name), path, number, name) if name in columns else None)
        count += 1
    if not count:
        raise DataError(f'\'{path}\' has no rows; every line is one object such as {{"text": "…", "label": "…"}}')
    table = pa.table({name: pa.array(column, type=pa.large_string()) for name, column in values.items()})
    return Source(table, f"'{path}'", {BLANK: blank} if blank else {})


def json_records(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, object] | None]]:
    """Yield number and object of each line, None for a blank one.

    Args:
        path: of the file.
        columns: those whose texts must be whole; None: all.

    Raises:
        DataError: a line is no JSON object, or a text has half a character; names the line.
    """
    # Not pyarrow.json: it guesses types, and does not say in which line a mistake stands.
    with path.open("rb") as file:
        for number, line in enumerate(text_lines(file, f"'{path}'"), start=1):
            if not line.strip():
                yield number, None
                continue
            try:
                record = json.loads(line, parse_constant=_refuse_constant, object_pairs_hook=_once)
            except (ValueError, RecursionError) as error:
                place = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                is_list = number == 1 and line.lstrip().startswith("[")
                what = "begins a list of JSON" if is_list else f"is not JSON ({place})"
                raise DataError(
                    f'\'{path}\', line {number}, {what}; every line is one object such as {{"text": "…", "label": "…"}}'
                ) from error
            if not isinstance(record, dict):
                raise DataError(f"'{path}', line {number}, holds {type(record).__name__}; expected an object")
            for name, value in record.items():
                for text in (name, value if columns is None or name in columns else None):
                    if isinstance(text, str) and (half := _HALF.search(text)):
                        raise DataError(
                            f"'{path}', line {number}: '{name}' has \\u{ord(half[0]):04x}, which is half a character; "
                            "cut it off, or write \\ufffd in its place"
                        )
            yield number, record


def _cell(value: object, path: Path, line: int, column: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    got = value if isinstance(value, float) else type(value).__name__
    raise DataError(f"'{path}', line {line}: '{column}' holds {got}; expected text or a number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' is written twice")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number; null is a missing value")
