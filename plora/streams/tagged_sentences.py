"""Sentences with a tag for every word: begin (B-), inside (I-) and outside (O) of entities, in the scheme IOB2."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.streams.base import Split

OUTSIDE = "O"
"""The tag of a word that is in no entity."""

Words = tuple[str, ...]
Tags = tuple[int, ...]


@dataclass(frozen=True)
class TaggedSentences(Split):
    """Sentences in memory.

    Args:
        sentences: N sentences of words, at least one each.
        tags: of each sentence the id of each word's tag, 0 … C − 1.
        tag_names: of the C tags, `O` first.
        background: the ids are those of all tasks of the stream, and `O` is what none of them has named so far; else
            they are the task's own.
    """

    sentences: tuple[Words, ...]
    tags: tuple[Tags, ...]
    tag_names: tuple[str, ...]
    background: bool = False
    labels: None = None
    dense = True

    def __len__(self) -> int:
        return len(self.sentences)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Words]:
        """Return some of the sentences."""
        return [self.sentences[index] for index in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of words, tags and their names, in their order."""
        digest = hashlib.sha256(json.dumps([self.tag_names, self.background]).encode())
        for words, tags in zip(self.sentences, self.tags, strict=True):
            digest.update(json.dumps([words, tags], ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def identities(self) -> Sequence[Words]:
        """Return the words of each sentence."""
        return self.sentences


def tags_of(types: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of types of entities, without `O`: B- and I- of each."""
    return tuple(f"{mark}-{one}" for one in types for mark in "BI")


def type_of(tag: str) -> str | None:
    """Return the type of the entity that a word with this tag is in; None outside of all."""
    return None if tag == OUTSIDE else tag[2:]
