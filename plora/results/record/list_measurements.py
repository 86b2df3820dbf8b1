"""What the kinds of measurements have in common whose examples have lists of numbers: their files, parts and joins."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.columns import (
    CLASS_NAMES_KEY,
    KIND_KEY,
    SCHEMA_KEY,
    class_names_of,
    example_columns,
    examples_of,
    read_table,
    require_schema,
    write_columns,
)
from plora.results.record.measurements import Measurements, Which
from plora.results.record.ragged import Starts, list_columns, places_of, read_lists, require_starts, starts_of
from plora.sealed import Identity

SCHEMA = 1


class ListMeasurements(Measurements):
    """N examples with as many numbers each as they need, M in all, in one or more columns.

    A subclass is a dataclass whose first fields are `task`, `example`, `starts` and the columns of `types`, in their
    order; `class_names` comes last, where it has any.

    Attributes:
        types: of the columns, by name.
        nouns: what examples, numbers and `class_names` are called in messages.
        starts: `[N + 1]` int64, where the numbers of each example begin, and the end of the last.
    """

    types: ClassVar[Mapping[str, pa.DataType]]
    nouns: ClassVar[tuple[str, str, str]]
    starts: Starts

    def require_lists(self) -> None:
        """Refuse columns that do not fit each other.

        Raises:
            RunError: says what does not fit.
        """
        lengths = [len(flat) for flat in self._flat().values()]
        require_starts(self.starts, len(self.task), lengths[0], self._called(), self.nouns[:2])
        if len(self.example) != len(self.task) or len(set(lengths)) > 1:
            raise RunError(f"{self._called()}: columns differ in length")

    def write(self, path: Path, of: Identity | None = None) -> None:
        """Write a parquet file, atomically."""
        lists = {name: flat.astype(self.types[name].to_pandas_dtype()) for name, flat in self._flat().items()}
        told = {KIND_KEY: self.kind, SCHEMA_KEY: str(SCHEMA)}
        if names := self._names():
            told[CLASS_NAMES_KEY] = json.dumps(names["class_names"])
        write_columns(path, example_columns(self.task, self.example) | list_columns(self.starts, lists), told, of)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a file that `write` wrote.

        Raises:
            RunError: it is missing or damaged, a column is missing or has another type, a value is out of range.
        """
        table = read_table(path)
        require_schema(path, table, cls.kind, SCHEMA)
        starts, flat = read_lists(path, table, cls.types)
        names = {"class_names": class_names_of(path, table)} if cls.names_classes() else {}
        try:
            return cls._made(*examples_of(path, table), starts, flat, names)
        except RunError as error:
            raise RunError(f"{path}: {error}") from None

    def rows(self, chosen: Which) -> Self:
        """Return some of the examples."""
        places, starts = places_of(self.starts, chosen)
        flat = {name: numbers[places] for name, numbers in self._flat().items()}
        return self._made(self.task[chosen], self.example[chosen], starts, flat, self._names())

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the examples of several.

        Raises:
            RunError: there are none, or their `class_names` differ.
        """
        if not parts:
            raise RunError(f"{cls._called()}: there is nothing to join")
        names = parts[0]._names()
        if any(part._names() != names for part in parts):
            raise RunError(f"{cls._called()}: records of other {cls.nouns[2]} cannot be joined")
        return cls._made(
            np.concatenate([part.task for part in parts]),
            np.concatenate([part.example for part in parts]),
            starts_of(np.concatenate([np.diff(part.starts) for part in parts])),
            {name: np.concatenate([part._flat()[name] for part in parts]) for name in cls.types},
            names,
        )

    @classmethod
    def _made(
        cls,
        task: NDArray[np.str_],
        example: NDArray[np.int32],
        starts: Starts,
        flat: Mapping[str, NDArray[Any]],
        names: Mapping[str, tuple[str, ...]],
    ) -> Self:
        return cls(task=task, example=example, starts=starts, **flat, **names)  # type: ignore[call-arg]  # a dataclass

    @classmethod
    def _called(cls) -> str:
        return cls.kind.replace("_", " ")

    def _flat(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, name) for name in self.types}

    def _names(self) -> dict[str, tuple[str, ...]]:
        return {"class_names": getattr(self, "class_names")} if self.names_classes() else {}  # noqa: B009
