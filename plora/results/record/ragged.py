"""Columns of lists, of which each example has as many numbers as it needs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import column

Starts = NDArray[np.int64]
"""`[N + 1]` where the numbers of each example begin, and the end of the last."""


def starts_of(lengths: NDArray[np.int64]) -> Starts:
    """Return where the numbers of each example begin, from how many each has, `[N]`."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def require_starts(starts: Starts, examples: int, numbers: int, what: str, nouns: Sequence[str]) -> None:
    """Refuse starts that do not part `numbers` among `examples`.

    Args:
        starts: `[examples + 1]`.
        examples, numbers: how many there are.
        what: they are of, for the message.
        nouns: what the two are called there.

    Raises:
        RunError: they do not.
    """
    if len(starts) != examples + 1 or starts[0] != 0 or starts[-1] != numbers or bool((np.diff(starts) < 0).any()):
        raise RunError(f"{what}: the columns of {examples} {nouns[0]} and {numbers} {nouns[1]} do not fit each other")


def places_of(starts: Starts, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> tuple[NDArray[np.int64], Starts]:
    """Return the places of the numbers of some examples, one example after the other, and where each then begins."""
    which = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.int64)
    lengths = np.diff(starts)[which]
    begins = starts_of(lengths)
    return np.arange(begins[-1]) + np.repeat(starts[:-1][which] - begins[:-1], lengths), begins


def list_columns(starts: Starts, columns: Mapping[str, NDArray[np.generic]]) -> dict[str, pa.Array]:
    """Return flat columns as lists, by name."""
    offsets = pa.array(starts.astype(np.int32))
    return {
        name: pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(flat))) for name, flat in columns.items()
    }


def read_lists(
    path: Path, table: pa.Table, types: Mapping[str, pa.DataType]
) -> tuple[Starts, dict[str, NDArray[np.generic]]]:
    """Return where the lists of each example begin, and columns of lists as flat ones.

    Args:
        path: of the file, for messages.
        table: that was read from it.
        types: of the numbers, by name of the column.

    Raises:
        RunError: a column is missing or has another type, a number is missing, or lists differ in length.
    """
    lists = {name: column(path, table, name, pa.list_(kind)).combine_chunks() for name, kind in types.items()}
    lengths = [np.asarray(found.value_lengths(), dtype=np.int64) for found in lists.values()]
    if any(not np.array_equal(lengths[0], other) for other in lengths[1:]):
        raise RunError(f"{path} is damaged: {' and '.join(lists)} differ in length")
    flat = {name: found.flatten() for name, found in lists.items()}
    if lacking := [name for name, found in flat.items() if found.null_count]:
        raise RunError(f"{path} is damaged: column '{lacking[0]}' lacks a value")
    return starts_of(lengths[0]), {name: found.to_numpy(zero_copy_only=False) for name, found in flat.items()}
