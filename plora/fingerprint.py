"""Content hashes: what a thing is, as opposed to where it came from."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from plora.regular import open_file


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the sha256 (hex) over names, types, shapes and bytes, in the given order."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name}:{data.dtype}:{list(data.shape)};".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 (hex) of a plain file's bytes."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a plain file
