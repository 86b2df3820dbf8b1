"""Local files as tables: CSV, JSON lines, parquet, or a folder per class; mistakes named by file and row."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from plora.errors import DataError, did_you_mean
from plora.streams.source import Source

_LONGEST_ROW = 2**26
"""Bytes of one row of a CSV file; pyarrow's own limit of a MiB is less than some texts have."""


def read_source(path: Path, columns: Sequence[str]) -> Source:
    """Read a file by its ending, or a folder `folder/<class>/*.txt` as the columns `text` and `label`.

    Args:
        path: file or folder.
        columns: the columns that will be used; in CSV they are read as text (a text may be all digits), and
            of the other kinds only they are kept.

    Raises:
        DataError: nothing there, an unknown ending, or content that does not parse; names the row.
    """
    with _naming(path):
        if path.is_dir():
            return Source(_read_folder(path), f"folder '{path}'")
        if not path.exists():
            nearby = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(
                f"there is no file or folder '{path}'{did_you_mean(path.name, nearby)}; "
                "paths are relative to the folder in which plora is started"
            )
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(
                f"'{path}' ends in '{path.suffix}', which is not read; give {', '.join(READERS)}, "
                "or a folder with a folder of .txt files per class"
            )
        if not path.is_file():  # a pipe or a device would be waited for, or never end
            raise DataError(f"'{path}' is neither a file nor a folder; write what it gives into a file first")
        table = reader(path, columns)
        for name in columns:
            if table.column_names.count(name) > 1:
                raise DataError(f"'{path}' has several columns named '{name}'; keep one, or rename the others")
    return Source(table, f"'{path}'")


def content_hash(path: Path) -> str:
    """Return the sha256 (hex) of a file, or of the relative paths and contents in a folder."""
    digest = hashlib.sha256()
    with _naming(path):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                if path.is_dir():
                    digest.update(os.fsencode(file.relative_to(path).as_posix()) + b"\0")
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn what reading a file or folder can raise into one line that names it."""
    try:
        yield
    except DataError:
        raise
    except UnicodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error}); save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        hint = "save it as UTF-8" if "utf" in str(error).lower() else "is it complete, and of the kind its ending says?"
        raise DataError(f"'{path}' cannot be read: {error}; {hint}") from error


def _read_csv(path: Path, columns: Sequence[str]) -> pa.Table:
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty; the first line of a CSV file names its columns")
    return pyarrow.csv.read_csv(
        path,
        # In one thread the reader knows the row number of a malformed line.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=_LONGEST_ROW),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True
        ),
        convert_options=pyarrow.csv.ConvertOptions(column_types={name: pa.large_string() for name in columns}),
    )


def _read_json_lines(path: Path, columns: Sequence[str]) -> pa.Table:
    # Not pyarrow.json: it guesses types, and does not say in which line a mistake stands.
    values: dict[str, list[str | None]] = {}
    count = 0
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                place = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise DataError(
                    f"'{path}', line {number}, is not JSON ({place}); "
                    'every line is one object such as {"text": "…", "label": "…"}'
                ) from error
            if not isinstance(record, dict):
                raise DataError(f"'{path}', line {number}, holds {type(record).__name__}; expected an object")
            for name in record.keys() - values.keys():
                values[name] = [None] * count
            for name, column in values.items():
                column.append(_json_text(record.get(name), path, number, name) if name in columns else None)
            count += 1
    return pa.table({name: pa.array(column, type=pa.large_string()) for name, column in values.items()})


def _json_text(value: object, path: Path, line: int, column: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else str(value)
    got = value if isinstance(value, float) else type(value).__name__
    raise DataError(f"'{path}', line {line}: '{column}' holds {got}; expected text or a number")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number; null is a missing value")


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    # Not read_table: it takes a folder of the path that is called label=… for a column.
    with pyarrow.parquet.ParquetFile(path) as file:
        if not set(columns) <= set(file.schema_arrow.names):
            return file.schema_arrow.empty_table()  # so that the error can list every column
        table = file.read(columns=list(columns))
    table.validate(full=True)
    return table


def _read_folder(folder: Path) -> pa.Table:
    texts: list[str] = []
    labels: list[str] = []
    inside = folder.resolve()
    for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."):
        for file in sorted(class_folder.glob("*.txt")):
            # A folder may come from elsewhere: a link in it must not bring in, unseen, what lies outside.
            linked = class_folder.is_symlink() or file.is_symlink()
            if linked and not file.resolve().is_relative_to(inside):
                raise DataError(f"'{file}' is a link out of '{folder}'; put the file itself there")
            if not file.is_file():
                raise DataError(f"'{file}' is not a file; take it away, or give it another ending")
            with _naming(file):
                texts.append(file.read_text(encoding="utf-8-sig"))
            labels.append(class_folder.name)
    if not texts:
        raise DataError(
            f"folder '{folder}' has no '<class>/*.txt'; expected one folder per class with text files in it"
        )
    return pa.table({"text": pa.array(texts, type=pa.large_string()), "label": pa.array(labels)})


READERS: dict[str, Callable[[Path, Sequence[str]], pa.Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
"""File ending → reader."""
