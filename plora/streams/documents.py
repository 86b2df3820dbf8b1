"""Whole documents in memory: what a language model reads, without answers beside them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Split


@dataclass(frozen=True)
class Documents(Split):
    """Documents in memory.

    Args:
        texts: N documents.
    """

    texts: tuple[str, ...]
    labels: None = None

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, indices: NDArray[np.int64]) -> Sequence[str]:
        """Return some of the documents."""
        return [self.texts[index] for index in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the documents, in their order."""
        digest = hashlib.sha256()
        for text in self.texts:
            content = text.encode("utf-8", "surrogatepass")
            digest.update(f"{len(content)}:".encode())  # or moving a border would change nothing
            digest.update(content)
        return digest.hexdigest()

    def identities(self) -> Sequence[str]:
        """Return the documents."""
        return self.texts
