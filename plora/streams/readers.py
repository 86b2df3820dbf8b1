"""Local files as tables: CSV, JSON lines, parquet, or a folder per class; mistakes named by file and row."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from plora.errors import DataError, did_you_mean
from plora.streams.columns import Source


def read_source(path: Path, columns: Sequence[str]) -> Source:
    """Read a file by its ending, or a folder `folder/<class>/*.txt` as the columns `text` and `label`.

    Args:
        path: file or folder.
        columns: the columns that will be used; in CSV they are read as text (a text may be all digits), and
            of the other kinds only they are kept.

    Raises:
        DataError: nothing there, an unknown ending, or content that does not parse; names the row.
    """
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
    try:
        return Source(reader(path, columns), f"'{path}'")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error}); save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        message = " ".join(str(error).split())
        hint = "save it as UTF-8" if "utf" in message.lower() else "is it complete, and of the kind its ending says?"
        raise DataError(f"'{path}' cannot be read: {message}; {hint}") from error


def content_hash(path: Path) -> str:
    """Return the sha256 (hex) of a file, or of the relative paths and contents in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _read_csv(path: Path, columns: Sequence[str]) -> pa.Table:
    if path.stat().st_size == 0:
        raise DataError(f"'{path}' is empty; the first line of a CSV file names its columns")
    return pyarrow.csv.read_csv(
        path,
        # In one thread the reader knows the row number of a malformed line.
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
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
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"'{path}', line {number}, is not JSON ({error.msg} at column {error.colno}); "
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
    if isinstance(value, int | float):
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    raise DataError(f"'{path}', line {line}: '{column}' holds {type(value).__name__}; expected text or a number")


def _read_parquet(path: Path, columns: Sequence[str]) -> pa.Table:
    present = [name for name in pyarrow.parquet.read_schema(path).names if name in columns]
    if len(present) < len(columns):
        return pyarrow.parquet.read_table(path)  # so that the error can list every column
    return pyarrow.parquet.read_table(path, columns=present)


def _read_folder(folder: Path) -> pa.Table:
    texts: list[str] = []
    labels: list[str] = []
    for class_folder in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        for file in sorted(class_folder.glob("*.txt")):
            try:
                texts.append(file.read_text(encoding="utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(f"'{file}' is not UTF-8 text ({error}); save it as UTF-8") from error
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
