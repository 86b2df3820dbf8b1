"""Large tensors in a folder of bounded size: written piece by piece, read by memory map, the oldest give way.

A file is a safetensors file with one tensor `states` and the sha256 of its data in the header.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor

from plora.atomic import atomic_path

DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
"""Types that a file can hold, by the names of safetensors."""


class Writer:
    """Takes the rows of one tensor, piece by piece.

    Args:
        descriptor: of the file, open for writing.
        shape: of the whole tensor.
        dtype: its type.
    """

    def __init__(self, descriptor: int, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._shape, self._dtype, self._digest = shape, dtype, hashlib.sha256()
        self._file.write(_header(shape, dtype))

    def append(self, rows: Tensor) -> None:
        """Write the next rows `[n, d]`."""
        data = rows.contiguous().reshape(-1).view(torch.uint8).numpy().data
        self._digest.update(data)
        self._file.write(data)

    def close(self, complete: bool) -> None:
        """Close the file, and say in its header that all rows are there."""
        if complete:
            self._file.seek(0)
            self._file.write(_header(self._shape, self._dtype, self._digest.hexdigest()))
        self._file.close()


@contextmanager
def writing(path: Path, shape: tuple[int, int], dtype: torch.dtype, limit_bytes: int) -> Iterator[Writer]:
    """Yield a writer; the file has its name when the block succeeds.

    Its room is taken before the first row is written, so that several processes together stay below the limit. Another
    one that needs the room later may delete the file, even before it is complete.

    Args:
        path: the file.
        shape: of the tensor.
        dtype: its type.
        limit_bytes: of all files in its folder; the least recently used are deleted to make room.

    Raises:
        OSError: the file cannot be written; names it.
    """
    size = file_size(shape, dtype)
    with atomic_path(path) as temporary:
        with FileLock(path.parent / ".lock"):
            _make_room(path.parent, limit_bytes - size)
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.ftruncate(descriptor, size)
        writer, complete = Writer(descriptor, shape, dtype), False
        try:
            yield writer
            complete = True
        finally:
            writer.close(complete)


def read(path: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor | None:
    """Return the memory-mapped tensor of a file; None where there is none or it is damaged.

    Args:
        path: the file; it counts as used now. Who deletes it leaves the tensor as it is.
        shape: that it must have.
        dtype: that it must have.
    """
    try:
        with path.open("rb") as file:
            file.seek(len(_header(shape, dtype)))
            found = hashlib.file_digest(file, "sha256").hexdigest()
        with torch.inference_mode(False), safe_open(path, framework="pt") as mapped:
            metadata: dict[str, str] = mapped.metadata() or {}
            tensor: Tensor = mapped.get_tensor("states")
        with suppress(OSError):  # in a cache that only others may write
            os.utime(path)
    except (OSError, SafetensorError):
        return None
    same = metadata.get("sha256") == found and tuple(tensor.shape) == shape and tensor.dtype == dtype
    return tensor if same else None


def file_size(shape: tuple[int, int], dtype: torch.dtype) -> int:
    """Return the bytes that a tensor takes in the folder."""
    return len(_header(shape, dtype)) + _data_size(shape, dtype)


def _header(shape: tuple[int, int], dtype: torch.dtype, sha256: str = "0" * 64) -> bytes:
    """What stands before the data: of the same length with and without the hash, which is known last."""
    tensor = {"dtype": DTYPES[dtype], "shape": shape, "data_offsets": [0, _data_size(shape, dtype)]}
    text = json.dumps({"__metadata__": {"sha256": sha256}, "states": tensor}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _data_size(shape: tuple[int, int], dtype: torch.dtype) -> int:
    return shape[0] * shape[1] * dtype.itemsize


def _make_room(folder: Path, allowed: int) -> None:
    """Delete files, those that killed writers left among them, until the others take no more than `allowed` bytes."""
    found: list[tuple[float, int, Path]] = []
    for path in (*folder.glob("*.safetensors"), *folder.glob(".*.tmp")):
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    used = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if used <= allowed:
            return
        with suppress(OSError):  # elsewhere than on POSIX a file that is in use stays
            path.unlink()
            used -= size
