"""Objects to paste: images that are transparent around what they show, in a folder or a table."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from plora.errors import DataError
from plora.streams.class_folders import files_below, has_ending
from plora.streams.image_column import ImageColumn
from plora.streams.image_reading import DamagedImageError
from plora.streams.pasting import Cutout, cutout_of_alpha
from plora.streams.readers import read_source

_ENDINGS = (".png", ".webp", ".gif")
"""Of images that may be transparent."""
_COLUMN = "image"


@dataclass(frozen=True)
class Cutouts:
    """The objects of a folder of images, in and below it, or of the column `image` of a .parquet file; none is decoded
    before it is asked for.

    Args:
        path: of the folder, or of the file.
    """

    path: Path

    def __len__(self) -> int:
        return len(self._found) if isinstance(self._found, tuple) else len(self._found.cells)

    def cutout(self, index: int) -> Cutout:
        """Return one of them.

        Raises:
            DataError: it is no image, or not transparent around an object.
        """
        if isinstance(self._found, tuple):
            file = self._found[index]
            try:
                return cutout_of_alpha(file.read_bytes(), str(file))
            except OSError as error:
                raise DamagedImageError(f"{file} cannot be read as an image: {error.strerror}") from None
        return cutout_of_alpha(self._found.content(index), self._found.name(index))

    def require_readable(self) -> None:
        """Refuse where one of them is no object: before anything is learned, and not when chance first takes it.

        Raises:
            DataError: see `cutout`; or there are none.
        """
        for index in range(len(self)):
            self.cutout(index)

    @cached_property
    def _found(self) -> tuple[Path, ...] | ImageColumn:
        if self.path.is_file() and has_ending(self.path, ".parquet"):
            found: tuple[Path, ...] | ImageColumn = ImageColumn.of(read_source(self.path, (_COLUMN,)), _COLUMN)
            empty = not len(found.cells)  # type: ignore[union-attr]
        elif self.path.is_dir():
            files = files_below(self.path, self.path, Counter())
            found = tuple(sorted(file for file in files if any(has_ending(file, ending) for ending in _ENDINGS)))
            empty = not found
        else:
            raise DataError(
                f"'{self.path}' is neither a folder nor a .parquet file; name one with images that are transparent "
                "around an object"
            )
        if empty:
            raise DataError(f"'{self.path}' has no images; expected some that end in {', '.join(_ENDINGS)}")
        return found
