"""Where the bytes of images are: a column of a table, with the images themselves or the paths of their files."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute

from plora.errors import DataError
from plora.streams.image_reading import DamagedImageError
from plora.streams.source import Source, column_of

FILE = "file"
"""The column of a table that plora made of a folder: paths of files on this machine."""


@dataclass(frozen=True)
class ImageColumn:
    """The images of one table, read one at a time; a table that is mapped into memory stays in its file.

    Args:
        cells: `[N]` of bytes, or of paths.
        where: what to call the table in a message.
        in_files: whether the cells are paths.
    """

    cells: pa.ChunkedArray
    where: str
    in_files: bool

    @classmethod
    def of(cls, source: Source, column: str) -> "ImageColumn":
        """Take a column of a table, as the hub has it (a struct of `bytes` and `path`) or of plain bytes.

        Raises:
            DataError: there is no such column, or it holds something else.
        """
        cells = column_of(source, column)
        if pa.types.is_struct(cells.type) and cells.type.get_field_index("bytes") >= 0:
            cells = pyarrow.compute.struct_field(cells, "bytes")
        kinds = pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view
        in_files = column == FILE and pa.types.is_string(cells.type)
        if not in_files and not any(is_kind(cells.type) for is_kind in kinds):
            raise DataError(
                f"{source.where}: column '{column}' holds {cells.type}; expected the bytes of images, or a struct of "
                "bytes and path as the hub writes it"
            )
        return cls(cells, source.where, in_files)

    def name(self, row: int) -> str:
        """Return what to call an image: its file, or its table and row."""
        return str(self.cells[row].as_py()) if self.in_files else f"{self.where}, row {row + 1}"

    def content(self, row: int) -> bytes:
        """Return the bytes of an image.

        Raises:
            DamagedImageError: there are none, or the file cannot be read.
        """
        found = self.cells[row].as_py()
        if self.in_files:
            try:
                return Path(found).read_bytes()
            except OSError as error:
                raise DamagedImageError(f"{found} cannot be read as an image: {error.strerror}") from None
        if found is None:
            raise DamagedImageError(f"{self.name(row)} has no bytes of an image")
        return bytes(found)
