"""Tagged sentences as tokens: where each word begins, and windows of sentences that are longer than a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.problems.base import Batch, Examples, Indices
from plora.problems.packing import windows

WORDS = "words"
"""Name of the input that says where words begin."""
ARRAYS = {
    "ids": torch.int32,
    "lengths": torch.int64,
    "places": torch.int64,
    "counts": torch.int64,
    "tags": torch.int64,
    "first": torch.int64,
    "outside": torch.int64,
}
"""Of some sentences, as tensors."""
_LOSSES = ("cross_entropy", "distillation")
"""Whose means are over words."""


@dataclass(frozen=True)
class SentenceLayout:
    """How sentences become rows.

    Args:
        before, after: special tokens around the tokens of a row.
        width: most tokens of a row between them.
        context: tokens that two windows of a long sentence share; below `width`.
        pad: the id that fills shorter rows up.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    width: int
    context: int
    pad: int


@dataclass(frozen=True)
class EncodedSentences(Examples):
    """Tokens of N sentences, one after the other, and the tag of each word.

    A word is tagged by its first token. A sentence longer than a row is read in windows that overlap, and each word
    counts once: in the window in which it stands farther from a border.

    Args:
        ids: `[Σ lengths]` int32, without special tokens.
        lengths: `[N]` int64 tokens, at least 1.
        places: `[Σ counts]` int64, the place in its sentence of each word's first token.
        counts: `[N]` int64 words, at least 1.
        tags: `[Σ counts]` int64, the row of the head that is each word's tag.
        first: `[N]` int64, the first row of the task that each sentence is of.
        outside: `[N]` int64, the row of `O` for it.
        layout: how they become rows.
        fingerprint: sha256 of the split's content.
    """

    fixed = False  # rows of a batch are windows, and caches know examples

    ids: NDArray[np.int32]
    lengths: Indices
    places: Indices
    counts: Indices
    tags: Indices
    first: Indices
    outside: Indices
    layout: SentenceLayout
    fingerprint: str = ""
    starts: Indices = field(init=False, repr=False)
    word_starts: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.cumsum(self.lengths) - self.lengths)
        object.__setattr__(self, "word_starts", np.cumsum(self.counts) - self.counts)

    @property
    def rows(self) -> Indices:  # type: ignore[override]  # an answer is a row for each word
        """None."""
        return np.empty(0, np.int64)

    @property
    def costs(self) -> Indices:
        """`[N]` tokens of all windows of a sentence."""
        layout, around = self.layout, len(self.layout.before) + len(self.layout.after)
        later = np.maximum(0, -(-(self.lengths - layout.width) // (layout.width - layout.context)))
        costs: Indices = self.lengths + later * layout.context + (1 + later) * around
        return costs

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return R rows of tokens, and P words.

        Inputs are `input_ids` and `attention_mask` `[R, T]`, and `words` `[P]`, where the first token of each word
        stands in the rows, one after the other. Targets are `rows` `[P]`, the row of the head that is right, `first`
        and `outside` `[P]`, those of its sentence, `owner` and `place` `[P]`, whose word it is and which, and `truth`
        `[B, W]`, the right row of each word, −1 after the last; W is that of the longest sentence of all.
        """
        layout = self.layout
        before = len(layout.before)
        parts, where, owner = list[NDArray[np.int64]](), list[tuple[int, NDArray[np.int64]]](), list[Indices]()
        truth = np.full((len(indices), int(self.counts.max(initial=1))), -1, np.int64)
        for example, index in enumerate(indices.tolist()):
            own, places = self._ids(index), self._of_words(self.places, index)
            truth[example, : len(places)] = self._of_words(self.tags, index)
            for first, last, low, high in spans(len(own), layout):
                inside = places[(places >= low) & (places < high)]
                where.append((len(parts), before + inside - first))
                owner.append(np.full(len(inside), example))
                parts.append(np.concatenate([layout.before, own[first:last], layout.after]).astype(np.int64))
        width = max(map(len, parts))
        ids, mask = np.full((len(parts), width), layout.pad), np.zeros((len(parts), width), np.int64)
        for row, part in enumerate(parts):
            ids[row, : len(part)], mask[row, : len(part)] = part, 1
        owners = np.concatenate(owner)
        targets = {
            "rows": truth[truth >= 0],
            "first": self.first[indices][owners],
            "outside": self.outside[indices][owners],
            "owner": owners,
            "place": np.nonzero(truth >= 0)[1],
            "truth": truth,
        }
        inputs = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            WORDS: torch.from_numpy(np.concatenate([row * width + at for row, at in where])),
        }
        weights = dict.fromkeys(_LOSSES, len(owners))
        return Batch(inputs, {name: torch.from_numpy(array) for name, array in targets.items()}, indices, weights)

    def subset(self, indices: Indices) -> "EncodedSentences":
        """Return some of the sentences."""
        chosen = indices.tolist()
        return EncodedSentences(
            np.concatenate([self.ids[:0], *(self._ids(index) for index in chosen)]),
            self.lengths[indices],
            np.concatenate([self.places[:0], *(self._of_words(self.places, index) for index in chosen)]),
            self.counts[indices],
            np.concatenate([self.tags[:0], *(self._of_words(self.tags, index) for index in chosen)]),
            self.first[indices],
            self.outside[indices],
            self.layout,
        )

    def followed_by(self, others: "Sequence[EncodedSentences]") -> "EncodedSentences":
        """Return these sentences and others."""
        every = (self, *others)
        joined = {name: np.concatenate([getattr(one, name) for one in every]) for name in ARRAYS}
        return EncodedSentences(**joined, layout=self.layout)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor]:
        """Return tokens and tags, and of each sentence how many tokens and words there are, and its rows."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ARRAYS}

    def _ids(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.starts[index] : self.starts[index] + self.lengths[index]]

    def _of_words(self, values: Indices, index: int) -> Indices:
        return values[self.word_starts[index] : self.word_starts[index] + self.counts[index]]


def spans(tokens: int, layout: SentenceLayout) -> Iterator[tuple[int, int, int, int]]:
    """Yield the windows of a sentence: its first token and the one after its last, and so those that count in it.

    What two windows share counts in the first up to its middle, and from there on in the second.

    Args:
        tokens: of the sentence.
        layout: width of a window, and what two share.
    """
    found = [(one.first, one.first + one.read) for one in windows(0, tokens, layout.width, layout.context)]
    cuts = [0, *((first + last + 1) // 2 for (_, last), (first, _) in pairwise(found)), tokens]
    for (first, last), low, high in zip(found, cuts[:-1], cuts[1:], strict=True):
        yield first, last, low, high
