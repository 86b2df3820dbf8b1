"""Files that are either whole or absent: temp file in the same folder, fsync, rename, fsync of the folder.

A reader, or a run that was killed and resumes, never sees half a file. Leftovers of a killed writer are
hidden files that end in `.tmp`; nothing ever reads them.
"""

import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from plora.errors import RunError
from plora.failpoints import reached

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
"""What JSON can say; numbers must be finite."""
_LOCK, _FILLED, _MODE = ".lock", "filled", "mode"
"""In the hidden folder of one that is being written."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temp path for a library that writes files itself; rename it to `path` when the block succeeds.

        with atomic_path(folder / "adapter_model.safetensors") as temporary:
            save_file(tensors, temporary)

    The temp path ends in `.tmp`, so a library that guesses a format from the suffix must be told the format.

    Args:
        path: the file to create or replace; missing parent folders are made.

    Raises:
        OSError: the file cannot be written (full disk, no permission), or the block wrote nothing; names `path`.
            After this error, and after whatever the block raises itself, `path` is what it was before.
    """
    _make_folder(path.parent)
    temporary = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.tmp"
    try:
        mode = _default_mode(temporary)
        yield temporary
        temporary.chmod(mode)  # safetensors writes files that only their owner can read
        _sync(temporary)
        reached("write")
        os.replace(temporary, path)
    except OSError as error:  # a full disk does not say which file it refused
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `path`, with all its files flushed, when the block succeeds.

    It is filled inside a hidden folder beside `path`, `.NAME.unfinished`. What a killed writer left there goes when the
    next one begins.

    Args:
        path: the folder to create; it must not exist yet, or be empty. Missing parent folders are made.

    Raises:
        RunError: another process is writing the same folder, or what has the hidden folder's name is not plora's.
        OSError: the folder cannot be written. After this error, and after whatever the block raises itself, `path`
            is what it was before.
    """
    _make_folder(path.parent)
    hidden = path.parent / f".{path.name[:100]}.unfinished"
    with _alone_in(hidden, path):
        folder = hidden / _FILLED
        folder.mkdir()
        mode = _default_mode(hidden / _MODE)
        yield folder
        for written in (*folder.rglob("*"), folder):
            if written.is_file():
                written.chmod(mode)
            if written.is_file() or os.name == "posix":
                _sync(written)
        reached("write")
        os.replace(folder, path)
    if os.name == "posix":
        _sync(path.parent)


@contextmanager
def _alone_in(hidden: Path, path: Path) -> Iterator[None]:
    """Be the only process that has a hidden folder, empty but for its lock; it is gone afterwards."""
    hidden.mkdir(exist_ok=True)
    found = {entry.name for entry in os.scandir(hidden)}
    if hidden.is_symlink() or found - {_LOCK, _FILLED, _MODE} or (found and _LOCK not in found):
        raise RunError(
            f"{hidden} is where {path} is written before it is whole, and something stands there that plora did not "
            "make; move it away"
        )
    lock = FileLock(hidden / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"{path} is being written by another process; wait for it, or stop it") from None
    try:
        _empty(hidden)
        yield
    finally:
        _empty(hidden)
        if os.name != "posix":  # an open file cannot be removed there
            lock.release()
        (hidden / _LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # the next one has come already
            hidden.rmdir()
        lock.release()


def _empty(hidden: Path) -> None:
    """Remove what was filled, or half filled."""
    (hidden / _MODE).unlink(missing_ok=True)
    if (hidden / _FILLED).exists():
        shutil.rmtree(hidden / _FILLED)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically; see `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, line ends untouched, atomically; see `atomic_path`."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: JsonValue) -> None:
    """Write `data` to `path` as strict, indented JSON, atomically; see `atomic_path`.

    Raises:
        ValueError: a number is NaN or infinite; write None (null) for "not measured".
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        encoded = text.encode()
    except UnicodeEncodeError:  # a lone surrogate, as damaged texts have; only the \ud800 form can carry it
        encoded = json.dumps(data, indent=1, allow_nan=False).encode()
    write_bytes(path, encoded + b"\n")


_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp|\.tmp[A-Za-z0-9]{6}")
"""Names of our own temporary files, and of those of safetensors, which writes beside the file that it is asked for."""


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left in a folder, not below it. Nobody else may be writing there."""
    for entry in list(os.scandir(folder)):
        if _LEFTOVER.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            os.unlink(entry)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each on disk before anything can be in it."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    if os.name == "posix":
        _sync(folder.parent)


def _default_mode(path: Path) -> int:
    """Permissions that a new file at `path` gets from the system; nothing is left there."""
    path.touch(exist_ok=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode


def _sync(path: Path) -> None:
    # Windows refuses to flush a descriptor that is open for reading only.
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
