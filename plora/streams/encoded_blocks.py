"""Blocks of one's own photographs, labelled by an encoder that is in use (extra `video`)."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from plora.errors import DataError
from plora.streams.base import SPLITS
from plora.streams.block_data import DOMAIN, QUANTISER, SPLIT, BlockLabels, BlockTable, BlockTables
from plora.streams.columns import TableTask
from plora.streams.image_reading import ImageReading, Pixels
from plora.streams.vp9_partitions import (
    HIGHEST_QUANTISER,
    SUPERBLOCK,
    VP9_TYPES,
    coded_blocks,
    encoder_name,
    require_encoder,
    types_at,
)

_FEWEST = 3
_INSIDE = "inside a larger block, which is not divided there"


@dataclass(frozen=True)
class _Photograph:
    """A file, and what is seen on it.

    Args:
        path: of the file.
        domain: the folder that it lies in.
        luma: `[H, W]`, both multiples of a superblock.
        key: sha256 (hex) of the luma.
    """

    path: Path
    domain: str
    luma: Pixels
    key: str


class EncodedBlocks(BlockLabels):
    """Blocks of the photographs in a folder, as VP9 (libvpx) divides them: NONE, HORZ, VERT or SPLIT (see
    `plora.streams.vp9_partitions` for how it is asked, and what it does not say).

    A block that lies inside a larger one is none of its size, and is left out and counted. Each photograph is in one
    split, which its pixels decide.
    """

    kind: Literal["encoded"] = "encoded"

    root: Path
    """Folder with the photographs, in it and below it; what begins with a dot or is the system's is left out."""
    domains: bool = False
    """`root` has a folder for each domain."""
    size: Literal[16, 32, 64] = 16
    """Height and width of a block in pixels."""
    quantisers: tuple[Annotated[int, Field(ge=0, le=HIGHEST_QUANTISER)], ...] = Field(default=(20, 40), min_length=1)
    """Quantisers of the encoder, 0 (finest) to 63; each photograph is encoded with each of them."""
    validation_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the photographs for validation; one at least."""
    test_share: float = Field(default=0.25, gt=0, lt=0.5)
    """Share of the photographs for test; one at least."""

    @property
    def has_domains(self) -> bool:
        """Whether each block is of a domain."""
        return self.domains

    @property
    def has_quantisers(self) -> bool:
        """Whether each block has a quantiser."""
        return True

    def read(self) -> BlockTables:
        """Encode the photographs; what was encoded before is read from the cache.

        Raises:
            DataError: the extra is not installed, a file is no photograph or too small, or there are too few.
        """
        import pyarrow as pa

        from plora.streams.source import Source

        require_encoder()
        left_out = Counter[str]()
        photographs = [*self._photographs(left_out)]
        split_of = self._splits(photographs)
        blocks, said = list[NDArray[np.uint8]](), list[tuple[str, str, int, str]]()
        for one in photographs:
            rows, columns = (side // self.size for side in one.luma.shape)
            cut = one.luma.reshape(rows, self.size, columns, self.size).swapaxes(1, 2)
            for quantiser in self.quantisers:
                found = types_at(coded_blocks(one.luma, quantiser), rows, columns, self.size)
                blocks.append(cut[found >= 0])
                left_out[_INSIDE] += int((found < 0).sum())
                said += [
                    (VP9_TYPES[type_], one.domain, quantiser, split_of[one.key]) for type_ in found[found >= 0].tolist()
                ]
        if absent := [split for split in SPLITS if split not in {row[-1] for row in said}]:
            raise DataError(
                f"'{self.root}': the photographs for {absent[0]} have no block of {self.size} pixels, all are inside "
                "larger ones; set size: 32 or 64, finer quantisers, or give more photographs"
            )
        names = ("label", DOMAIN, QUANTISER, SPLIT)
        table = pa.table({name: pa.array(column) for name, column in zip(names, zip(*said, strict=True), strict=True)})
        source = Source(table, f"blocks of {len(photographs)} photographs in '{self.root}'", left_out)
        labels = TableTask(label_names=None if self.map else VP9_TYPES, map=self.map)
        provenance = {"encoder": encoder_name()}
        domain = DOMAIN if self.domains else None
        return BlockTables(
            {"train": BlockTable(np.concatenate(blocks), source)}, labels, domain, QUANTISER, SPLIT, provenance
        )

    def _photographs(self, left_out: Counter[str]) -> Iterator[_Photograph]:
        from plora.streams.class_folders import entries, files_below
        from plora.streams.photographs import luma_of

        if not self.root.is_dir():
            raise DataError(
                f"there is no folder '{self.root}'; paths are relative to the folder in which plora is started"
            )
        for folder in entries(self.root, left_out) if self.domains else [self.root]:
            if not folder.is_dir():
                raise DataError(f"'{folder}' is no folder; with domains: true each photograph lies in that of a domain")
            for path in files_below(folder, self.root, left_out):
                luma = luma_of(ImageReading(colours="rgb").pixels(path, f"'{path}'"))
                high, wide = (side // SUPERBLOCK * SUPERBLOCK for side in luma.shape)
                if not high or not wide:
                    raise DataError(
                        f"'{path}' has {luma.shape[1]} × {luma.shape[0]} pixels; expected at least {SUPERBLOCK} each "
                        "way"
                    )
                inside = np.ascontiguousarray(luma[:high, :wide])
                key = hashlib.sha256(f"{inside.shape};".encode() + inside.tobytes()).hexdigest()
                yield _Photograph(path, folder.name, inside, key)

    def _splits(self, photographs: Sequence[_Photograph]) -> dict[str, str]:
        """For which split each photograph is, by its key: equal ones together, and some of every domain in each."""
        found = dict[str, str]()
        for domain in dict.fromkeys(one.domain for one in photographs) or [self.root.name]:
            keys = sorted({one.key for one in photographs if one.domain == domain} - found.keys())
            if len(keys) < _FEWEST:
                where = self.root / domain if self.domains else self.root
                raise DataError(
                    f"'{where}' has {len(keys)} different photographs; at least {_FEWEST} are needed, one for each of "
                    f"{', '.join(SPLITS)}"
                )
            test = min(max(1, round(self.test_share * len(keys))), len(keys) - 2)
            validation = min(max(1, round(self.validation_share * len(keys))), len(keys) - test - 1)
            train = len(keys) - test - validation
            places = ["train"] * train + ["validation"] * validation + ["test"] * test
            found |= dict(zip(keys, places, strict=True))
        return found
