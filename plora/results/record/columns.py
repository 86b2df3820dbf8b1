"""Columns of a parquet file: written atomically, with the hash of what they hold and whose they are; read and checked.

The metadata of a file holds, beside what its kind needs, `plora.of` (run, kind and number, as in the JSON files of a
run) and `plora.sha256`, over that metadata and the values of all columns.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plora.atomic import atomic_path
from plora.errors import RunError
from plora.regular import open_file
from plora.sealed import Identity

OF_KEY, SEAL_KEY = b"plora.of", b"plora.sha256"
KIND_KEY, SCHEMA_KEY, CLASS_NAMES_KEY = b"plora.kind", b"plora.schema", b"plora.class_names"

Columns = Mapping[str, NDArray[np.generic]]


def write_columns(
    path: Path, columns: Mapping[str, pa.Array], metadata: Mapping[bytes, str], of: Identity | None = None
) -> None:
    """Write columns and the metadata of the file, atomically.

    Args:
        path: the file.
        columns: by name.
        metadata: what the kind needs.
        of: whose they are.
    """
    told = dict(metadata) if of is None else {**metadata, OF_KEY: json.dumps(asdict(of))}
    table = pa.table(dict(columns)).replace_schema_metadata(told)
    sealed = table.replace_schema_metadata({**told, SEAL_KEY: _digest(table)})
    with atomic_path(path) as temporary:
        pq.write_table(sealed, temporary, compression="zstd", write_page_checksum=True)


def read_table(path: Path) -> pa.Table:
    """Read a parquet file with its checksums; a file without a hash is of an older version.

    Raises:
        RunError: it is missing, damaged, or was changed.
    """
    try:
        with open_file(path) as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            table = file.read()
        table.validate(full=True)
    except FileNotFoundError:
        raise _missing(path) from None
    except (pa.ArrowException, OSError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    seal = metadata_of(table).get(SEAL_KEY)
    if seal is not None and seal != _digest(table).encode():
        raise RunError(
            f"{path} was changed after plora wrote it (its content does not have the sha256 that it carries); restore "
            "it from a copy, or remove it, and `plora resume` measures it again"
        )
    return table


def read_metadata(path: Path) -> Mapping[bytes, bytes]:
    """Return the metadata of a parquet file; none of its columns is read.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        with open_file(path) as file:
            found: Mapping[bytes, bytes] = pq.read_schema(file).metadata or {}
    except FileNotFoundError:
        raise _missing(path) from None
    except (pa.ArrowException, OSError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    return found


def read_seal(path: Path) -> tuple[Identity | None, str]:
    """Return whose a file says it is, and its sha256; None and empty in a file of an older version.

    Raises:
        RunError: it is missing or damaged.
    """
    metadata = read_metadata(path)
    try:
        told = json.loads(metadata.get(OF_KEY, b"null"))
        of = None if told is None else Identity(str(told["run"]), str(told["kind"]), int(told["number"]))
        return of, metadata.get(SEAL_KEY, b"").decode()
    except (TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from None


def _missing(path: Path) -> RunError:
    return RunError(f"{path} does not exist; this run has no predictions after that task")


def _damaged(path: Path, error: Exception) -> RunError:
    """One line about what a library said; our own lines stay as they are."""
    return error if isinstance(error, RunError) else RunError(f"{path} is damaged: {error}")


def _digest(table: pa.Table) -> str:
    """The sha256 over metadata, names, types and values; how they are cut into chunks and pages has no part in it."""
    metadata = metadata_of(table)
    own = sorted((key, metadata[key]) for key in metadata if key.startswith(b"plora.") and key != SEAL_KEY)
    digest = hashlib.sha256(repr(own).encode())
    for position, name in enumerate(table.column_names):  # a damaged file may have a name twice
        found = table.column(position)
        kind = f"list of {found.type.value_type}" if pa.types.is_list(found.type) else found.type
        digest.update(f"{name}:{kind}:{len(found)};".encode())
        for values in _values(found.combine_chunks()):
            digest.update(values)
    return digest.hexdigest()


def _values(array: pa.Array | pa.ChunkedArray) -> Iterator[bytes]:
    """What an array holds, gaps included."""
    if isinstance(array, pa.ChunkedArray):
        for chunk in array.chunks:
            yield from _values(chunk)
        return
    if array.null_count:
        yield np.asarray(array.is_null().to_pylist(), np.bool_).tobytes()
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield np.asarray(array.value_lengths().fill_null(0), np.int64).tobytes()
        yield from _values(array.flatten())
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        yield json.dumps(array.to_pylist()).encode()
    else:
        nothing = False if pa.types.is_boolean(array.type) else 0
        yield array.fill_null(nothing).to_numpy(zero_copy_only=False).tobytes()


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
