"""Where blocks of luma come from: photographs that a search labels, arrays of NumPy, or parquet; all become tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName
from plora.streams.columns import TableTask
from plora.streams.partitions import partitions_at
from plora.streams.photographs import PHOTOGRAPHS
from plora.streams.sample_values import SampleValues

if TYPE_CHECKING:
    from plora.streams.source import Source

BlockSize = Literal[8, 16, 32, 64]
"""Height and width in pixels."""
SIZES = get_args(BlockSize)
DOMAIN, QUANTISER, SPLIT = "domain", "quantiser", "split"
"""Columns of the tables that are made here."""


@dataclass(frozen=True)
class BlockTable:
    """Blocks, and what is said of each.

    Args:
        pixels: `[N, H, W]` uint8.
        source: a table of N rows with their labels and whatever else is said.
        costs: `[N, K]` of each of K types; None where nobody says it.
        cost_names: of the K types.
    """

    pixels: NDArray[np.uint8]
    source: "Source"
    costs: NDArray[np.float64] | None = None
    cost_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlockTables:
    """Tables of blocks, and what their columns are called.

    Args:
        tables: one for each split that there is.
        labels: how their labels are read.
        domain, quantiser, split: columns; None where there is none.
        provenance: where they came from.
    """

    tables: Mapping[SplitName, BlockTable]
    labels: TableTask
    domain: str | None
    quantiser: str | None
    split: str | None
    provenance: Mapping[str, str]


class BlockLabels(BaseModel):
    """How the partition types of blocks are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    map: dict[str | int, str | int | None] | None = None
    """Type found → class wanted, such as all but `NONE` to `PARTITION`; null drops its blocks. Every type that is found
    must be named; the classes get their ids in the order in which they stand here. What a class costs is what the
    cheapest of its types costs."""


class PhotographBlocks(BlockLabels):
    """Blocks of the photographs that installed packages ship, labelled by a rate-distortion search (see
    `plora.streams.rate_distortion` for what it computes and what it leaves out).

    A few photographs are a demonstration and no evidence. Blocks lie side by side; of each row of them the left part is
    for training, the next for validation, the right part for test, so that no pixel is in two splits.
    """

    kind: Literal["photographs"] = "photographs"

    size: BlockSize = 16
    """Height and width of a block in pixels."""
    quantisers: tuple[Annotated[float, Field(gt=0, le=255)], ...] = Field(default=(16.0, 48.0), min_length=1)
    """Quantiser steps Δ, in levels of 8 bits; each block is labelled for each of them."""
    photographs: tuple[str, ...] = Field(default=tuple(PHOTOGRAPHS), min_length=1)
    """Which of them; each is a domain."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the columns of blocks for validation."""
    test_share: float = Field(default=0.25, gt=0, lt=0.5)
    """Share of the columns of blocks for test."""

    @field_validator("photographs")
    @classmethod
    def _are_there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in PHOTOGRAPHS]:
            raise ValueError(f"there is no photograph '{unknown[0]}'; there are {', '.join(PHOTOGRAPHS)}")
        return names

    @property
    def has_domains(self) -> bool:
        """Whether each block is of a domain."""
        return True

    @property
    def has_quantisers(self) -> bool:
        """Whether each block has a quantiser."""
        return True

    def read(self) -> BlockTables:
        """Search the types of all blocks.

        Raises:
            DataError: a photograph is not there, or too small for three splits.
        """
        import pyarrow as pa

        from plora.streams.photographs import luma, photograph_hash
        from plora.streams.source import Source

        names, size = partitions_at(self.size), self.size
        blocks, costs, places, said = [], [], [], list[tuple[str, float]]()
        for name in self.photographs:
            image = luma(name)
            rows, columns = ((side - 1) // size for side in image.shape)
            inside = image[1 : 1 + rows * size, 1 : 1 + columns * size]
            cut = inside.reshape(rows, size, columns, size).swapaxes(1, 2).reshape(-1, size, size)
            test, validation = (max(1, round(columns * share)) for share in (self.test_share, self.validation_share))
            if columns - test - validation < 1:
                raise DataError(f"photograph '{name}' has {columns} blocks of {size} pixels in a row; too few to split")
            place = np.repeat([0, 1, 2], [columns - test - validation, validation, test])
            for step in self.quantisers:
                blocks.append(cut)
                costs.append(_searched(name, size, step))
                places.append(np.tile(place, rows))
                said += [(name, step)] * len(cut)
        of_block, of_split = np.concatenate(costs), np.concatenate(places)
        columns_of = {
            "label": pa.array([names[best] for best in of_block.argmin(axis=1).tolist()]),
            DOMAIN: pa.array([name for name, _ in said]),
            QUANTISER: pa.array([step for _, step in said]),
            SPLIT: pa.array([SPLITS[number] for number in of_split.tolist()]),
        }
        source = Source(pa.table(columns_of), f"blocks of {len(self.photographs)} photographs")
        table = BlockTable(np.concatenate(blocks), source, of_block, names)
        provenance = {f"photograph {name}": photograph_hash(name) for name in self.photographs}
        order = None if self.map else names
        return BlockTables(
            {"train": table}, TableTask(label_names=order, map=self.map), DOMAIN, QUANTISER, SPLIT, provenance
        )


class StoredBlocks(BlockLabels, SampleValues):
    """What tables of blocks have in common: their samples, and their columns."""

    label: str = "label"
    """The column with the type: names, or integers from 0."""
    label_names: tuple[str, ...] | str | None = None
    """The types in their natural order: a list, or a text file, one name a line. None: the labels found, sorted."""
    domain: str | None = None
    """The column with the kind of content, for `by: domains`."""
    quantiser: str | None = None
    """The column with the quantiser, a number, for `by: quantisers` and `quantiser_channel`."""
    quantisers: tuple[float, ...] | None = Field(default=None, min_length=1)
    """Only blocks of these quantisers, such as `[20]` for a training of its own; None: all."""
    split: str | None = None
    """A column of `train` that says of each block whether it is for `train`, `validation` or `test`."""

    @model_validator(mode="after")
    def _quantisers_have_a_column(self) -> Self:
        if self.quantisers is not None and self.quantiser is None:
            raise ValueError("quantisers needs quantiser, the column with the quantiser of a block")
        return self

    @property
    def has_domains(self) -> bool:
        """Whether each block is of a domain."""
        return self.domain is not None

    @property
    def has_quantisers(self) -> bool:
        """Whether each block has a quantiser."""
        return self.quantiser is not None

    def _tables(self, tables: Mapping[SplitName, BlockTable]) -> BlockTables:
        sides = {split: table.pixels.shape[1:] for split, table in tables.items()}
        for split, own in sides.items():
            if own != sides["train"]:
                raise DataError(
                    f"{tables[split].source.where} has blocks of {own[0]} × {own[1]} pixels, and "
                    f"{tables['train'].source.where} of {sides['train'][0]} × {sides['train'][1]}; a stream has blocks "
                    "of one size"
                )
        labels = TableTask(label=self.label, label_names=self.label_names, map=self.map)
        return BlockTables(tables, labels, self.domain, self.quantiser, self.split, {})

    def _columns(self) -> list[str]:
        return [name for name in (self.label, self.domain, self.quantiser, self.split) if name is not None]


class NpzBlocks(StoredBlocks):
    """Arrays of NumPy, `.npz`: `[N, H, W]` of samples, and `[N]` for each column.

    Objects of Python in it are never opened.
    """

    kind: Literal["npz"] = "npz"

    train: Path
    """File with the training blocks."""
    validation: Path | None = None
    """That with the validation blocks; None: cut from train."""
    test: Path | None = None
    """That with the test blocks; None: cut from train."""
    blocks: str = "blocks"
    """Name of the array with the samples."""
    costs: str | None = None
    """Name of an array `[N, types]`: what each type would cost for each block, lower is better, in the order of
    `label_names`."""

    def read(self) -> BlockTables:
        """Read the files.

        Raises:
            DataError: a file is not there, is damaged or holds objects of Python, an array is missing, or samples are
                not as declared.
        """
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return self._tables({split: self._table(path) for split in SPLITS if (path := given[split]) is not None})

    def _table(self, path: Path) -> BlockTable:
        import pyarrow as pa

        from plora.streams.labels import read_label_names
        from plora.streams.source import Source

        where = f"'{path}'"
        arrays = _arrays(path, [self.blocks, *self._columns(), *([] if self.costs is None else [self.costs])])
        samples = arrays.pop(self.blocks)
        if samples.ndim != 3 or not len(samples):
            raise DataError(
                f"{where}: array '{self.blocks}' is {list(samples.shape)}; expected [blocks, height, width], one size "
                "for all of them"
            )
        for name, array in arrays.items():
            if len(array) != len(samples) or array.ndim != (2 if name == self.costs else 1):
                raise DataError(
                    f"{where}: array '{name}' is {list(array.shape)}, and there are {len(samples)} blocks; expected "
                    f"[{len(samples)}{', types' if name == self.costs else ''}]"
                )
        costs = None if self.costs is None else arrays.pop(self.costs).astype(np.float64)
        names: tuple[str, ...] = ()
        if costs is not None:
            said = self.label_names
            names = read_label_names(Path(said)) if isinstance(said, str) else tuple(said or ())
            if costs.shape[1] != len(names):
                raise DataError(
                    f"{where}: array '{self.costs}' has {costs.shape[1]} columns, and label_names {len(names)} types; "
                    "name each type in the order of the columns"
                )
            if not (np.isfinite(costs) & (costs >= 0)).all():
                raise DataError(
                    f"{where}: array '{self.costs}' holds values that are no numbers of 0 or more; every type costs one"
                )
        source = Source(pa.table({name: pa.array(array) for name, array in arrays.items()}), where)
        return BlockTable(self.bytes_of(samples, f"{where}: array '{self.blocks}'"), source, costs, names)


class ParquetBlocks(StoredBlocks):
    """Parquet files with the samples of a block in a cell, as raw bytes row by row."""

    kind: Literal["parquet"] = "parquet"

    train: Path | tuple[Path, ...]
    """File with the training blocks, several, or a folder of some."""
    validation: Path | tuple[Path, ...] | None = None
    """Those with the validation blocks; None: cut from train."""
    test: Path | tuple[Path, ...] | None = None
    """Those with the test blocks; None: cut from train."""
    blocks: str = "luma"
    """The column with the samples: one byte each of 8 bits, else two, the lower byte first; of `values: unit` four
    (fp32)."""
    size: BlockSize = 16
    """Height and width of a block in pixels."""

    def read(self) -> BlockTables:
        """Read the files.

        Raises:
            DataError: a file is not there or damaged, a block has another size, or samples are not as declared.
        """
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return self._tables({split: self._table(paths) for split in SPLITS if (paths := given[split]) is not None})

    def _table(self, paths: Path | tuple[Path, ...]) -> BlockTable:
        import pyarrow as pa

        from plora.streams.image_data import parquet_source
        from plora.streams.source import column_of

        source = parquet_source(paths, [self.blocks, *self._columns()])
        cells = column_of(source, self.blocks)
        if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)):
            raise DataError(
                f"{source.where}: column '{self.blocks}' holds {cells.type}; expected the raw bytes of blocks (encoded "
                "images are read by stream.kind: images)"
            )
        kind = np.dtype("<f4" if self.values == "unit" else "u1" if self.bits == 8 else "<u2")
        wanted = self.size**2 * kind.itemsize
        content = cells.to_pylist()
        for row, one in enumerate(content):
            if one is None or len(one) != wanted:
                raise DataError(f"{source.where}, row {row + 1}: {self._size_of(one, kind.itemsize)}")
        samples = np.frombuffer(b"".join(content), kind).reshape(-1, self.size, self.size)
        return BlockTable(self.bytes_of(samples, f"{source.where}: column '{self.blocks}'"), source)

    def _size_of(self, content: bytes | None, width: int) -> str:
        """What is wrong with the size of a block."""
        if content is None:
            return f"column '{self.blocks}' is empty; take the row out"
        fitting = [size for size in SIZES if size**2 * width == len(content)]
        shown = f"{len(content)} bytes, {fitting[0]} × {fitting[0]} pixels" if fitting else f"{len(content)} bytes"
        return (
            f"column '{self.blocks}' has {shown} at {width} bytes a sample; expected {self.size**2 * width} for "
            f"{self.size} × {self.size} and bits: {self.bits}. A stream has blocks of one size: set size, or keep them "
            "in files of their own"
        )


@cache
def _searched(name: str, size: int, step: float) -> NDArray[np.float64]:
    """J of every type of every block of a photograph, `[blocks, types]`, to a hundredth."""
    from plora.streams.photographs import luma
    from plora.streams.rate_distortion import partition_costs

    found = partition_costs(luma(name), size, step)
    return np.round(found.reshape(-1, found.shape[-1]), 2)


def _arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Some arrays of a `.npz` file."""
    if not path.is_file():
        raise DataError(f"there is no file '{path}'; paths are relative to the folder in which plora is started")
    try:
        with path.open("rb") as content:  # NumPy would leave a damaged one open
            file = np.load(content)  # plain arrays alone
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"'{path}' is one array and no .npz of named ones; write it with numpy.savez")
            if missing := [name for name in names if name not in file.files]:
                raise DataError(f"'{path}' has no array '{missing[0]}'; its arrays are: {', '.join(file.files)}")
            return {name: file[name] for name in names}
    except DataError:
        raise
    except Exception as error:  # NumPy raises whatever a broken file leads to
        objects = "Object arrays" in str(error)
        why = "it holds Python objects, which are never opened" if objects else f"{type(error).__name__}: {error}"
        raise DataError(f"'{path}' cannot be read as .npz: {why}; write plain arrays with numpy.savez") from None
