"""Documents in memory: what a language model reads, all of them or with answers that alone are learned."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Split
from plora.streams.dialogues import Dialogue

Document = str | Dialogue
"""A text that is learned as a whole, or a dialogue, of which the answers are."""


@dataclass(frozen=True)
class Documents(Split):
    """Documents in memory.

    Args:
        texts: N documents.
    """

    texts: tuple[Document, ...]
    labels: None = None

    def __len__(self) -> int:
        return len(self.texts)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Document]:
        """Return some of the documents."""
        return [self.texts[index] for index in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the documents, in their order."""
        digest = hashlib.sha256()
        for text in self.texts:
            content = _written(text).encode("utf-8", "surrogatepass")
            digest.update(f"{len(content)}:".encode())  # or moving a border would change nothing
            digest.update(content)
        return digest.hexdigest()

    def identities(self) -> Sequence[Document]:
        """Return the documents."""
        return self.texts

    def words(self) -> Iterator[str]:
        """Yield every text, those of a dialogue one by one."""
        for text in self.texts:
            if isinstance(text, Dialogue):
                yield from (said for _, said in text.messages)
            else:
                yield text


def content(document: Document) -> str:
    """Return all text of a document."""
    return document.content if isinstance(document, Dialogue) else document


def _written(document: Document) -> str:
    """A text as it is; a dialogue with its roles, so that no text is the same."""
    return json.dumps(["dialogue", *document.messages]) if isinstance(document, Dialogue) else document
