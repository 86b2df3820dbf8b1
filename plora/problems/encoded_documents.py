"""Documents as tokens, batched for a causal language model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.problems.base import Batch, Examples, Indices
from plora.problems.packing import Window, apart, pack, windows
from plora.problems.rendering import COUNTED, LEARNED, READ

NOT_SCORED = -100
"""Label of a position after which nothing is predicted."""
LOSS = "nats"
ARRAYS = {"ids": torch.int32, "lengths": torch.int64, "bytes": torch.int64}
"""Of some documents, as tensors."""
MARKS = "marks"
"""Name of the tensor that documents with answers have besides, uint8."""


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

    Of documents with answers only these are learned. Scored, all that is learned is predicted, because an answer is
    right with its end; what counts is their texts alone.

    Args:
        ids: `[Σ lengths]` int32, without start and end.
        lengths: `[N]` int64.
        bytes: `[N]` int64, of each text in UTF-8.
        layout: how they become rows.
        fingerprint: sha256 of the split's content.
        marks: `[Σ lengths]` uint8, of `READ`, `LEARNED` and `COUNTED`; None where every token counts.
        too_long: how many documents with answers are longer than a row.
        cut: `[N]` bool, which of them stop before their end, which is then not learned; None: none. What a checkpoint
            keeps is whole.
    """

    fixed = False

    ids: NDArray[np.int32]
    lengths: Indices
    bytes: Indices
    layout: Layout
    fingerprint: str = ""
    marks: NDArray[np.uint8] | None = None
    too_long: int = 0
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

    @property
    def truncated(self) -> int:
        """How many documents with answers lost the beginning of their prompt, or are in windows that do not see it."""
        return self.too_long

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return W rows of at most `width` tokens.

        Inputs are `input_ids`, `attention_mask` (0 where nothing stands) and, of packed rows, `position_ids`, which
        begin anew with each window, all `[W, T]`. Targets are `labels` `[W, T]`, the token after each or −100, `owner`
        `[W, T]`, the document of each position in the batch, and `bytes` `[B]`; of documents with answers also `texts`
        `[W, T]`, whether the label is of a text that counts.
        """
        layout, learned = self.layout, draw is not None
        own = [
            slice(start, start + length)
            for start, length in zip(self.starts[indices].tolist(), self.lengths[indices].tolist(), strict=True)
        ]
        texts = [np.concatenate([[layout.start], self.ids[part], [layout.end]]) for part in own]
        marks = None if self.marks is None else [np.concatenate([[READ], self.marks[part], [LEARNED]]) for part in own]
        ends = learned or marks is not None
        endless = [not ends or cut for cut in self._cut[indices].tolist()]
        counts = [max(len(text) - 1 - without, 1) for text, without in zip(texts, endless, strict=True)]
        found = [
            window
            for document, read in enumerate(counts)
            for window in windows(document, read, layout.width, 0 if learned else layout.context)
            if marks is None or marks[document][_labelled(window)].any()
        ]
        placed = pack(found, layout.width) if layout.packing else apart(found)
        shape = max(one.row for one in placed) + 1, max(one.column + one.window.read for one in placed)
        ids, labels = np.full(shape, layout.end, np.int64), np.full(shape, NOT_SCORED, np.int64)
        inside, owner = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        counted = np.zeros(shape, np.bool_)
        positions = np.zeros(shape, np.int64)  # where nothing stands, each begins anew and is seen by none
        for one in placed:
            document, first, read, new = one.window
            text, begin = texts[document], one.column
            there = slice(begin, begin + read)
            ids[one.row, there] = text[first : first + read]
            inside[one.row, there], owner[one.row, there] = 1, document
            positions[one.row, there] = np.arange(read)
            if ends or len(text) > 2:  # of an empty document nothing but its end could be predicted
                labels[one.row, begin + new : begin + read] = text[_labelled(one.window)]
            if marks is not None:
                own_marks, places = marks[document][_labelled(one.window)], slice(begin + new, begin + read)
                labels[one.row, places][own_marks == READ] = NOT_SCORED
                counted[one.row, places] = own_marks == COUNTED
        arrays = {"input_ids": ids, "attention_mask": inside}
        if layout.packing:
            arrays["position_ids"] = positions
        inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
        targets: dict[str, NDArray[Any]] = {"labels": labels, "owner": owner, "bytes": self.bytes[indices]}
        if marks is not None:
            targets["texts"] = counted
        weights = {LOSS: int((labels != NOT_SCORED).sum())}
        return Batch(inputs, {name: torch.from_numpy(array) for name, array in targets.items()}, indices, weights)

    def subset(self, indices: Indices) -> "EncodedDocuments":
        """Return some of the documents."""
        parts = [slice(self.starts[index], self.starts[index] + self.lengths[index]) for index in indices.tolist()]
        ids = np.concatenate([np.empty(0, np.int32), *(self.ids[part] for part in parts)])
        marks = None if self.marks is None else np.concatenate([self.marks[:0], *(self.marks[part] for part in parts)])
        cut = None if self.cut is None else self.cut[indices]
        return EncodedDocuments(ids, self.lengths[indices], self.bytes[indices], self.layout, marks=marks, cut=cut)

    def followed_by(self, others: "Sequence[EncodedDocuments]") -> "EncodedDocuments":
        """Return these documents and others."""
        every = (self, *others)
        return EncodedDocuments(
            np.concatenate([one.ids for one in every]),
            np.concatenate([one.lengths for one in every]),
            np.concatenate([one.bytes for one in every]),
            self.layout,
            marks=np.concatenate([one.marked() for one in every])
            if any(one.marks is not None for one in every)
            else None,
            cut=None if all(one.cut is None for one in every) else np.concatenate([one._cut for one in every]),
        )

    def marked(self) -> NDArray[np.uint8]:
        """Return what each token is, `[Σ lengths]`: of documents without answers, all that counts."""
        return np.full(len(self.ids), COUNTED, np.uint8) if self.marks is None else self.marks

    def parts(self) -> list[NDArray[np.int32]]:
        """Return the tokens of each document, without start and end."""
        return [self.ids[a : a + n] for a, n in zip(self.starts.tolist(), self.lengths.tolist(), strict=True)]

    @property
    def _cut(self) -> NDArray[np.bool_]:
        return np.zeros(len(self), np.bool_) if self.cut is None else self.cut

    def tensors(self) -> dict[str, Tensor]:
        """Return tokens, and of each document how many tokens and bytes there are; of answers, what each token is."""
        names = ARRAYS if self.marks is None else (*ARRAYS, MARKS)
        return {name: torch.from_numpy(getattr(self, name)) for name in names}


def _labelled(window: Window) -> slice:
    """Where in a document, with its start, the tokens are that a window predicts."""
    return slice(window.first + window.counted + 1, window.first + window.read + 1)
