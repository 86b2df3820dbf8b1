"""Which entries of a folder of data count: one rule for texts, images, parquet files and `plora predict`."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from plora.errors import DataError

HIDDEN = "hidden, or of the system (.DS_Store, ._*, __MACOSX, Thumbs.db)"
"""Reason why an entry is left out."""
_SYSTEM = {"__macosx", "thumbs.db", "desktop.ini"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is nobody's data: its name begins with a dot, or it is what a system puts everywhere."""
    return name.startswith(".") or name.lower() in _SYSTEM


def entries(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Yield what is in a folder, by name, and count what is hidden."""
    for entry in sorted(folder.iterdir()):
        if is_hidden(entry.name):
            left_out[HIDDEN] += 1
        else:
            yield entry


def has_ending(path: Path, ending: str) -> bool:
    """Whether a file's name ends in `.txt` or the like, in capitals or not."""
    return path.suffix.lower() == ending


def refuse_links(path: Path, root: Path) -> None:
    """Refuse a link that leaves its folder: data may come from elsewhere, and must not bring in what lies outside.

    Raises:
        DataError: it does.
    """
    if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"'{path}' is a link out of '{root}'; put the file itself there")


def files_below(folder: Path, root: Path, left_out: Counter[str]) -> Iterator[Path]:
    """Yield the files in and below a folder, by name, and count what is hidden.

    Raises:
        DataError: a link out of `root`, a name that is not UTF-8, a pipe or a device.
    """
    for place, folders, names in os.walk(folder):
        visible = [name for name in folders if not is_hidden(name)]
        left_out[HIDDEN] += len(folders) - len(visible) + sum(map(is_hidden, names))
        folders[:] = sorted(visible)
        for path in (Path(place, name) for name in (*folders, *sorted(names)) if not is_hidden(name)):
            refuse_links(path, root)
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise DataError(f"{os.fsencode(path)!r} has a name that is not UTF-8; rename it") from None
            if path.is_file():
                yield path
            elif not path.is_dir():  # it would be waited for, or never end
                raise DataError(f"'{path}' is neither a file nor a folder; take it away")
