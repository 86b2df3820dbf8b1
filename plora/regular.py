"""Files of a run folder: plain files and folders inside it, opened without following links.

Who can put a link into a folder that somebody else trusts can make programs read, write or delete where it points. So
every path of a run comes from `inside`, and every file of it that is read or appended to is opened by `open_file`.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from plora.atomic import write_bytes
from plora.errors import RunError

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISREG, "a file"),
)


def inside(root: Path, *names: str) -> Path:
    """Return a path below a folder, in which nothing that exists is anything but a plain file or folder.

    Args:
        root: the folder; it may itself be reached through links, for its user named it.
        names: of the folders on the way, and of the file or folder itself; what does not exist is not looked at.

    Raises:
        RunError: something on the way is a link, a pipe or a device, or a file where a folder should be; names it.
    """
    path = root
    for position, name in enumerate(names):
        path = path / name
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return root.joinpath(*names)
        except OSError as error:
            raise RunError(f"{path} cannot be looked at: {error.strerror}") from None
        last = position == len(names) - 1
        if not (stat.S_ISDIR(mode) or (last and stat.S_ISREG(mode))):
            raise _refused(path, mode, "plain files and folders" if last else "folders")
    return path


def open_file(path: Path, append: bool = False) -> BinaryIO:
    """Open a plain file to read it, or to append to it; a link is not followed, and nothing else waits or runs on.

    A file that has other names (hard links) is parted from them before it is appended to.

    Raises:
        RunError: it is no plain file.
        OSError: it does not exist, or cannot be opened.
    """
    wanted = os.O_WRONLY | os.O_APPEND | os.O_CREAT if append else os.O_RDONLY
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, wanted | careful | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        try:
            found = path.lstat().st_mode
        except OSError:
            raise error from None
        if not stat.S_ISREG(found):
            raise _refused(path, found, "plain files") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _refused(path, status.st_mode, "plain files")
    if append and status.st_nlink > 1:
        os.close(descriptor)
        _part(path)
        return open_file(path, append)
    return os.fdopen(descriptor, "ab" if append else "rb")


def read_file(path: Path) -> bytes:
    """Return the content of a plain file.

    Raises:
        RunError: it is no plain file.
        OSError: it does not exist, or cannot be read.
    """
    with open_file(path) as file:
        return file.read()


def require_file(path: Path) -> None:
    """Refuse what a library that opens files by itself should not get.

    Raises:
        RunError: it is no plain file.
        OSError: it does not exist.
    """
    found = path.lstat().st_mode
    if not stat.S_ISREG(found):
        raise _refused(path, found, "plain files")


def _part(path: Path) -> None:
    """Give a file that shares its content with other names a copy of its own."""
    write_bytes(path, read_file(path))


def _refused(path: Path, mode: int, wanted: str) -> RunError:
    found = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    return RunError(
        f"{path} is {found}, and a run is made of {wanted} inside its own folder; it was not followed and nothing was "
        "changed. Remove it, or restore the run from a copy"
    )
