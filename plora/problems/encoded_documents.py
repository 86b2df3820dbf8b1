"""Documents as tokens, batched for a causal language model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.problems.base import Batch, Examples, Indices
from plora.problems.packing import apart, pack, windows

NOT_SCORED = -100
"""Label of a position after which nothing is predicted."""
LOSS = "nats"
ARRAYS = {"ids": torch.int32, "lengths": torch.int64, "bytes": torch.int64}
"""Of some documents, as tensors."""


@dataclass(frozen=True)
class Layout:
    """How documents become rows.

    Args:
        start: token before the first one of a document.
        end: token after its last one.
        width: most tokens of a row.
        context: tokens that windows of a long document share where it is scored; below `width`.
        packing: several documents share a row.
    """

    start: int
    end: int
    width: int
    context: int
    packing: bool


@dataclass(frozen=True)
class EncodedDocuments(Examples):
    """Tokens of N documents, one after the other.

    Learned, the end of a document is predicted too, and windows of a long one do not overlap. Scored (`draw` is None),
    its end is not, and each window but the first has read `context` tokens that count in another one.

    Args:
        ids: `[Σ lengths]` int32, without start and end.
        lengths: `[N]` int64.
        bytes: `[N]` int64, of each text in UTF-8.
        layout: how they become rows.
        fingerprint: sha256 of the split's content.
        cut: `[N]` bool, which of them stop before their end, which is then not learned; None: none. What a checkpoint
            keeps is whole.
    """

    fixed = False

    ids: NDArray[np.int32]
    lengths: Indices
    bytes: Indices
    layout: Layout
    fingerprint: str = ""
    cut: NDArray[np.bool_] | None = None
    starts: Indices = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.cumsum(self.lengths) - self.lengths)

    @property
    def rows(self) -> Indices:  # type: ignore[override]  # answers are tokens
        """None."""
        return np.empty(0, np.int64)

    @property
    def packed(self) -> bool:  # type: ignore[override]  # decided by the layout
        """Whether documents share rows."""
        return self.layout.packing

    @property
    def costs(self) -> Indices:
        """`[N]` tokens, the start included."""
        return self.lengths + 1

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return W rows of at most `width` tokens.

        Inputs are `input_ids`, `attention_mask` (0 where nothing stands) and, of packed rows, `position_ids`, which
        begin anew with each window, all `[W, T]`. Targets are `labels` `[W, T]`, the token after each or −100, `owner`
        `[W, T]`, the document of each position in the batch, and `bytes` `[B]`.
        """
        layout, learned = self.layout, draw is not None
        texts = [
            np.concatenate([[layout.start], self.ids[start : start + length], [layout.end]])
            for start, length in zip(self.starts[indices].tolist(), self.lengths[indices].tolist(), strict=True)
        ]
        endless = [not learned or cut for cut in self._cut[indices].tolist()]
        counts = [max(len(text) - 1 - without, 1) for text, without in zip(texts, endless, strict=True)]
        found = [
            window
            for document, read in enumerate(counts)
            for window in windows(document, read, layout.width, 0 if learned else layout.context)
        ]
        placed = pack(found, layout.width) if layout.packing else apart(found)
        shape = max(one.row for one in placed) + 1, max(one.column + one.window.read for one in placed)
        ids, labels = np.full(shape, layout.end, np.int64), np.full(shape, NOT_SCORED, np.int64)
        inside, owner = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        positions = np.zeros(shape, np.int64)  # where nothing stands, each begins anew and is seen by none
        for one in placed:
            document, first, read, counted = one.window
            text, begin = texts[document], one.column
            there = slice(begin, begin + read)
            ids[one.row, there] = text[first : first + read]
            inside[one.row, there], owner[one.row, there] = 1, document
            positions[one.row, there] = np.arange(read)
            if learned or len(text) > 2:  # of an empty document nothing but its end could be predicted
                labels[one.row, begin + counted : begin + read] = text[first + counted + 1 : first + read + 1]
        arrays = {"input_ids": ids, "attention_mask": inside}
        if layout.packing:
            arrays["position_ids"] = positions
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        targets = {"labels": labels, "owner": owner, "bytes": self.bytes[indices]}
        weights = {LOSS: int((labels != NOT_SCORED).sum())}
        return Batch(inputs, {name: torch.from_numpy(array) for name, array in targets.items()}, indices, weights)

    def subset(self, indices: Indices) -> "EncodedDocuments":
        """Return some of the documents."""
        parts, cut = self.parts(), None if self.cut is None else self.cut[indices]
        ids = np.concatenate([np.empty(0, np.int32), *(parts[index] for index in indices.tolist())])
        return EncodedDocuments(ids, self.lengths[indices], self.bytes[indices], self.layout, cut=cut)

    def followed_by(self, others: "Sequence[EncodedDocuments]") -> "EncodedDocuments":
        """Return these documents and others."""
        every = (self, *others)
        return EncodedDocuments(
            np.concatenate([one.ids for one in every]),
            np.concatenate([one.lengths for one in every]),
            np.concatenate([one.bytes for one in every]),
            self.layout,
            cut=None if all(one.cut is None for one in every) else np.concatenate([one._cut for one in every]),
        )

    def parts(self) -> list[NDArray[np.int32]]:
        """Return the tokens of each document, without start and end."""
        return [self.ids[a : a + n] for a, n in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)]

    @property
    def _cut(self) -> NDArray[np.bool_]:
        return np.zeros(len(self), np.bool_) if self.cut is None else self.cut

    def tensors(self) -> dict[str, Tensor]:
        """Return tokens, and of each document how many tokens and bytes there are."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ARRAYS}
