"""Columns of a parquet file: written atomically, read and checked."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plora.atomic import atomic_path
from plora.errors import RunError

KIND_KEY, SCHEMA_KEY, CLASS_NAMES_KEY = b"plora.kind", b"plora.schema", b"plora.class_names"

Columns = Mapping[str, NDArray[np.generic]]


def write_columns(path: Path, columns: Mapping[str, pa.Array], metadata: Mapping[bytes, str]) -> None:
    """Write columns and the metadata of the file, atomically."""
    table = pa.table(dict(columns)).replace_schema_metadata(dict(metadata))
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_table(path: Path) -> pa.Table:
    """Read a parquet file with its checksums.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; this run has no predictions after that task") from None
    except (pa.ArrowException, OSError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    return table


def metadata_of(table: pa.Table) -> Mapping[bytes, bytes]:
    """Return the metadata of a table; empty where it has none."""
    found: Mapping[bytes, bytes] = table.schema.metadata or {}
    return found


def require_schema(path: Path, table: pa.Table, kind: str, schema: int) -> None:
    """Refuse a file of another kind or schema.

    Raises:
        RunError: names what was found and what is read.
    """
    found = metadata_of(table)
    if found.get(KIND_KEY) != kind.encode():
        raise RunError(f"{path} is not a record of {kind.replace('_', ' ')}")
    if found.get(SCHEMA_KEY) != str(schema).encode():
        told = found.get(SCHEMA_KEY, b"none").decode(errors="replace")
        raise RunError(f"{path} has schema {told}, this version of plora reads schema {schema}")


def column(path: Path, table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """Return one column of a type, without a gap.

    Raises:
        RunError: there is none, it has another type, or a value is missing.
    """
    if name not in table.column_names:
        raise RunError(f"{path} is damaged: it has no column '{name}'")
    found = table.column(name)
    if found.type != kind or found.null_count:
        raise RunError(f"{path} is damaged: column '{name}' is {found.type}, expected {kind} without gaps")
    return found


def examples_of(path: Path, table: pa.Table) -> tuple[NDArray[np.str_], NDArray[np.int32]]:
    """Return `task` and `example`, which every kind of record has.

    Raises:
        RunError: as `column`.
    """
    tasks = column(path, table, "task", pa.string()).to_numpy().astype(np.str_)
    return tasks, column(path, table, "example", pa.int32()).to_numpy()


def example_columns(task: NDArray[np.str_], example: NDArray[np.int32]) -> dict[str, pa.Array]:
    """Return the two columns that every kind of record has."""
    numbers = np.ascontiguousarray(example, dtype=np.int32)
    return {"task": pa.array(task.tolist(), pa.string()), "example": pa.array(numbers)}


def class_names_of(path: Path, table: pa.Table) -> tuple[str, ...]:
    """Return the names of classes from the metadata of a file.

    Raises:
        RunError: there are none, or they are no texts.
    """
    try:
        names = json.loads(metadata_of(table)[CLASS_NAMES_KEY])
    except (KeyError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RunError(f"{path} is damaged: names of classes are texts")
    return tuple(names)
