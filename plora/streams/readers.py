"""Local files as tables: CSV, TSV, JSON lines, parquet, or a folder per class; mistakes named by file and row."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from plora.errors import DataError, did_you_mean
from plora.streams.class_folders import is_hidden
from plora.streams.delimited import read_delimited
from plora.streams.json_lines import json_records, read_json_lines
from plora.streams.source import Source, column_of
from plora.streams.text_folder import read_text_folder


def read_source(path: Path, columns: Sequence[str], label: str | None = None) -> Source:
    """Read a file by its ending, or a folder `folder/<class>/*.txt` as the columns `text` and `label`.

    Args:
        path: file or folder.
        columns: the columns that will be used; in CSV they are read as text (a text may be all digits), and
            of the other kinds only they are kept.
        label: the one of them with the labels, which tell a row of a CSV file from a line of a text.

    Raises:
        DataError: nothing there, an unknown ending, or content that does not parse; names the row.
    """
    with _naming(path):
        if path.is_dir():
            return read_text_folder(path)
        _require_there(path)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(
                f"'{path}' ends in '{path.suffix}', which is not read; give {', '.join(READERS)}, "
                "or a folder with a folder of .txt files per class"
            )
        if not path.is_file():  # a pipe or a device would be waited for, or never end
            raise DataError(f"'{path}' is neither a file nor a folder; write what it gives into a file first")
        source = reader(path, columns, label)
        for name in columns:
            column_of(source, name)
    return source


def read_values(path: Path, column: str) -> list[object]:
    """Return a column of JSON lines or parquet as it is, with lists and objects.

    Raises:
        DataError: as `read_source`, or the file is of another kind.
    """
    with _naming(path):
        _require_there(path)
        if path.suffix.lower() == ".parquet":
            found: list[object] = column_of(_read_parquet(path, [column]), column).to_pylist()
            return found
        if path.suffix.lower() != ".jsonl":
            raise DataError(f"'{path}' ends in '{path.suffix}'; lists of messages stand in .jsonl or .parquet")
        records = [(number, record) for number, record in json_records(path, [column]) if record is not None]
    for number, record in records:
        if column not in record:
            raise DataError(
                f"'{path}', line {number}, has no '{column}'; it has: {', '.join(record) or 'nothing'}"
                f"{did_you_mean(column, record)}"
            )
    return [record[column] for _, record in records]


def read_whole(path: Path) -> pa.Table:
    """Read all columns of a CSV, TSV or parquet file.

    Raises:
        DataError: two columns have one name, or as `read_source`.
    """
    with _naming(path):
        if path.suffix.lower() == ".parquet":
            with pyarrow.parquet.ParquetFile(path) as file:
                source = Source(file.read(), f"'{path}'")
        else:
            source = read_delimited(path)
    for name in source.table.column_names:
        column_of(source, name)
    return source.table


def content_hash(path: Path) -> str:
    """Return the sha256 (hex) of a file, or of the relative paths and contents of what counts in a folder."""
    digest = hashlib.sha256()
    with _naming(path):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if path.is_dir() and any(map(is_hidden, file.relative_to(path).parts)):
                continue
            if file.is_file():
                if path.is_dir():
                    digest.update(os.fsencode(file.relative_to(path).as_posix()) + b"\0")
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _require_there(path: Path) -> None:
    if not path.exists():
        nearby = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file or folder '{path}'{did_you_mean(path.name, nearby)}; "
            "paths are relative to the folder in which plora is started"
        )


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
        raise DataError(
            f"'{path}' cannot be read: {error}; is it complete, and of the kind its ending says?"
        ) from error


def _read_parquet(path: Path, columns: Sequence[str]) -> Source:
    # Not read_table: it takes a folder of the path that is called label=… for a column.
    with pyarrow.parquet.ParquetFile(path) as file:
        named = Source(file.schema_arrow.empty_table(), f"'{path}'")
        for name in columns:
            column_of(named, name)
        table = file.read(columns=list(columns))
    table.validate(full=True)
    return Source(table, f"'{path}'")


READERS: dict[str, Callable[[Path, Sequence[str], str | None], Source]] = {
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".jsonl": lambda path, columns, label: read_json_lines(path, columns),
    ".parquet": lambda path, columns, label: _read_parquet(path, columns),
}
"""File ending → reader."""
