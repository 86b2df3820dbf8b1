"""Blocks of luma."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.blocks import Blocks


def read(folder: Path, samples: NDArray[np.generic], **data: object) -> None:
    labels = np.arange(len(samples)) % 2
    np.savez(folder / "b.npz", blocks=samples, label=labels, q=labels + 20)
    Blocks.model_validate({"data": {"kind": "npz", "train": folder / "b.npz", "bits": 8, **data}}).load()


def levels(highest: int) -> NDArray[np.uint16]:
    found = np.random.default_rng(0).integers(0, highest, (40, 8, 8), endpoint=True).astype(np.uint16)
    found[0, 0, 0] = highest
    return found


def refused(said: str) -> "pytest.RaisesExc[DataError]":
    return pytest.raises(DataError, match=re.escape(said))


@pytest.mark.odd("blocks of 10 bits that are declared as 8", "refused; says which bit depth it would be")
def test_ten_bits_declared_as_eight(tmp_path: Path) -> None:
    with refused("holds values from 0 to 1023: bits: 8 is declared, which ends at 255; set bits: 10"):
        read(tmp_path, levels(1023))


@pytest.mark.odd("blocks of 8 bits that are declared as 10", "refused; nothing in them is above a quarter")
def test_eight_bits_declared_as_ten(tmp_path: Path) -> None:
    with refused("bits: 10 is declared, and 8 bits hold all of them; set bits: 8"):
        read(tmp_path, levels(255), bits=10)


@pytest.mark.odd("samples that were divided already, declared as levels", "refused; they would be black")
def test_fractions_declared_as_levels(tmp_path: Path) -> None:
    with refused("values: levels is declared, and they were divided already; set values: unit"):
        read(tmp_path, levels(1023) / np.float32(1023), bits=10)


@pytest.mark.odd("samples that were divided twice", "refused; none is above one level")
def test_divided_twice(tmp_path: Path) -> None:
    with refused("they were divided by 1023 twice, or all are black; divide once"):
        read(tmp_path, levels(1023) / np.float64(1023**2), bits=10, values="unit")


@pytest.mark.odd("levels that are declared as fractions", "refused")
def test_levels_declared_as_fractions(tmp_path: Path) -> None:
    with refused("values: unit is declared, which ends at 1; set values: levels, or divide them"):
        read(tmp_path, levels(255), values="unit")


@pytest.mark.odd("samples below 0, NaN, or between two levels", "refused, each with what to do")
def test_values_that_are_no_levels(tmp_path: Path) -> None:
    with refused("none may be below 0; add back what was subtracted"):
        read(tmp_path, levels(255).astype(np.int32) - 128)
    with refused("holds values that are no numbers (NaN or infinite)"):
        read(tmp_path, np.where(levels(255) > 250, np.nan, 7))
    with refused("values: levels is declared, and some are fractions"):
        read(tmp_path, levels(255) / 2)


@pytest.mark.odd("blocks of mixed sizes", "refused; names the row, its size and the one that is declared")
def test_mixed_sizes(tmp_path: Path) -> None:
    table = pa.table({"luma": [bytes(range(64)), bytes(range(256))], "label": [0, 1]})
    pyarrow.parquet.write_table(table, tmp_path / "b.parquet")
    data = {"kind": "parquet", "train": tmp_path / "b.parquet", "size": 8, "bits": 8}
    with refused("row 2: column 'luma' has 256 bytes, 16 × 16 pixels at 1 bytes a sample; expected 64 for 8 × 8"):
        Blocks.model_validate({"data": data}).load()
    np.savez(tmp_path / "t.npz", blocks=np.zeros((4, 16, 16), np.uint8) + 9, label=[0, 1, 0, 1])
    with refused("has blocks of 16 × 16 pixels, and "):
        read(tmp_path, levels(255), test=tmp_path / "t.npz")


@pytest.mark.odd("a .npz file with Python objects, or one that is damaged", "refused; nothing pickled is opened")
def test_pickled_and_damaged_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", blocks=np.array([[1], [1, 2]], object), label=[0, 1])
    with refused("it holds Python objects, which are never opened; write plain arrays with numpy.savez"):
        Blocks.model_validate({"data": {"kind": "npz", "train": tmp_path / "p.npz", "bits": 8}}).load()
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 no archive")
    with refused("cannot be read as .npz"):
        Blocks.model_validate({"data": {"kind": "npz", "train": tmp_path / "d.npz", "bits": 8}}).load()


@pytest.mark.odd("a column of quantisers that are none, or above `quantiser_channel`", "refused")
def test_quantisers(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", blocks=levels(255), label=np.arange(40) % 2, q=np.arange(40), s=["x"] * 40)
    data = {"kind": "npz", "train": tmp_path / "b.npz", "bits": 8}
    with refused("column 's' says 'x'; expected a quantiser, a number"):
        Blocks.model_validate({"data": data | {"quantiser": "s"}, "by": "quantisers"}).load()
    with refused("column 'q' holds 0 to 39, and quantiser_channel is 32"):
        Blocks.model_validate({"data": data | {"quantiser": "q"}, "quantiser_channel": 32}).load()
    with refused("no block has the quantiser 63; there are 0, 1, 2"):
        Blocks.model_validate({"data": data | {"quantiser": "q", "quantisers": [63]}}).load()
