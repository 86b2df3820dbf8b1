"""Tensors on disk: safetensors, written atomically, read with one clear line when damaged."""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from plora.atomic import atomic_path
from plora.errors import RunError
from plora.regular import require_file


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors to a safetensors file, atomically; the same bytes for the same tensors and metadata.

    Args:
        path: the file.
        tensors: by name; each is stored on its own, whatever memory it shares.
        metadata: text for the file's header.

    Raises:
        OSError: the file cannot be written; names it.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary, library_writes(path):
        save_file(plain, temporary, metadata=dict(metadata) if metadata else None)
        _sort_metadata(temporary)


@contextmanager
def library_writes(path: Path) -> Iterator[None]:
    """Let libraries write; some hide the system's reason, such as a full disk, in a text, or do not say where.

    Raises:
        OSError: as the system said it; names the path.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, SafetensorError):  # tokenizers raise a bare one
            raise
        said = re.search(r"os error (\d+)", str(error))
        number = int(said[1]) if said else errno.EIO
        raise OSError(number, os.strerror(number) if said else str(error), str(path)) from None


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a file's header into the order of its keys: the writer's changes from process to process."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if len(metadata := header.get("__metadata__", {})) < 2:
            return
        header["__metadata__"] = dict(sorted(metadata.items()))
        data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        assert len(data) == length  # the same text in another order
        file.seek(8)
        file.write(data)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        require_file(path)
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    return tensors
