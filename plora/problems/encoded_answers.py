"""Prompts and their answers as tokens, batched for an encoder and a decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.problems.base import Batch, Examples, Indices
from plora.problems.encoded_documents import LOSS, NOT_SCORED

ARRAYS = {
    "prompts": torch.int32,
    "prompt_lengths": torch.int64,
    "replies": torch.int32,
    "answer_lengths": torch.int64,
    "counted": torch.uint8,
    "texts": torch.uint8,
    "bytes": torch.int64,
}
"""Of some prompts and answers, as tensors."""
_OF_EACH = (
    ("prompts", "prompt_lengths"),
    ("replies", "answer_lengths"),
    ("counted", "answer_lengths"),
    ("texts", "bytes"),
)
"""What stands one after the other, and how much of it each has."""


@dataclass(frozen=True)
class AnswerLayout:
    """How prompts and answers become rows.

    Args:
        start: token that the decoder reads first.
        end: token that ends a text.
        pad: token that fills rows up; masked, and never learned.
        width: most tokens of a prompt, with special ones.
        answer: most tokens of an answer, with special ones.
    """

    start: int
    end: int
    pad: int
    width: int
    answer: int


@dataclass(frozen=True)
class EncodedAnswers(Examples):
    """N prompts with an answer each, one after the other.

    Args:
        prompts: `[Σ prompt_lengths]` int32, with the special tokens of a text.
        prompt_lengths: `[N]` int64.
        replies: `[Σ answer_lengths]` int32, with the special tokens of a text.
        answer_lengths: `[N]` int64, at least 1.
        counted: `[Σ answer_lengths]` uint8, 1 where a token is of the answer's text, 0 where it is a special one.
        texts: `[Σ bytes]` uint8, the texts of the answers in UTF-8.
        bytes: `[N]` int64, their lengths.
        layout: how they become rows.
        fingerprint: sha256 of the split's content.
        too_long: how many prompts lost their beginning, or answers their end.
    """

    fixed = False  # what enters a decoder is not what enters its encoder, and caches know one of them

    prompts: NDArray[np.int32]
    prompt_lengths: Indices
    replies: NDArray[np.int32]
    answer_lengths: Indices
    counted: NDArray[np.uint8]
    texts: NDArray[np.uint8]
    bytes: Indices
    layout: AnswerLayout
    fingerprint: str = ""
    too_long: int = 0
    starts: dict[str, Indices] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lengths = {name: getattr(self, of) for name, of in _OF_EACH}
        object.__setattr__(self, "starts", {name: np.cumsum(each) - each for name, each in lengths.items()})

    @property
    def rows(self) -> Indices:  # type: ignore[override]  # answers are tokens
        """None."""
        return np.empty(0, np.int64)

    @property
    def costs(self) -> Indices:
        """`[N]` tokens of prompt and answer."""
        return self.prompt_lengths + self.answer_lengths

    @property
    def truncated(self) -> int:
        """How many prompts lost their beginning, or answers their end."""
        return self.too_long

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return B prompts and answers, filled up on the right.

        Inputs are `input_ids` and `attention_mask` `[B, T]`, and `decoder_input_ids` `[B, L]`: the start, and the
        answer without its last token. Targets are `labels` `[B, L]`, the answer or −100, `counted` `[B, L]`, where it
        is text, `bytes` `[B]`, and `texts` `[B, M]`, the bytes of the text.
        """
        chosen = indices.tolist()
        ids, inside = _filled([self.part("prompts", index) for index in chosen], self.layout.pad)
        labels, learned = _filled([self.part("replies", index) for index in chosen], NOT_SCORED)
        read = np.where(learned, labels, self.layout.pad)[:, :-1]
        arrays = {
            "input_ids": ids,
            "attention_mask": inside.astype(np.int64),
            "decoder_input_ids": np.concatenate([np.full((len(chosen), 1), self.layout.start), read], axis=1),
        }
        targets = {
            "labels": labels,
            "counted": _filled([self.part("counted", index) for index in chosen], 0)[0] == 1,
            "bytes": self.bytes[indices],
            "texts": _filled([self.part("texts", index) for index in chosen], 0)[0],
        }
        inputs, told = ({n: torch.from_numpy(a) for n, a in of.items()} for of in (arrays, targets))
        return Batch(inputs, told, indices, {LOSS: int(learned.sum())})

    def subset(self, indices: Indices) -> "EncodedAnswers":
        """Return some of the prompts and answers."""
        chosen = indices.tolist()
        flat = {
            name: np.concatenate([getattr(self, name)[:0], *(self.part(name, index) for index in chosen)])
            for name, _ in _OF_EACH
        }
        lengths = {of: getattr(self, of)[indices] for of in ("prompt_lengths", "answer_lengths", "bytes")}
        return EncodedAnswers(**flat, **lengths, layout=self.layout)  # type: ignore[arg-type]

    def followed_by(self, others: "Sequence[EncodedAnswers]") -> "EncodedAnswers":
        """Return these prompts and answers, and others."""
        every = (self, *others)
        joined = {name: np.concatenate([getattr(one, name) for one in every]) for name in ARRAYS}
        return EncodedAnswers(**joined, layout=self.layout)  # type: ignore[arg-type]

    def tensors(self) -> dict[str, Tensor]:
        """Return tokens, texts, and how much of them each example has."""
        return {name: torch.from_numpy(getattr(self, name)) for name in ARRAYS}

    def part(self, name: str, index: int) -> NDArray[np.integer]:
        """Return what one example has of `prompts`, `replies`, `counted` or `texts`."""
        start = self.starts[name][index]
        found: NDArray[np.integer] = getattr(self, name)[start : start + getattr(self, dict(_OF_EACH)[name])[index]]
        return found


def fit(arrays: dict[str, NDArray[np.generic]]) -> bool:
    """Say whether what stands one after the other is as long as its examples say."""
    number = len(arrays["bytes"])
    same = all(len(arrays[of]) == number and not (arrays[of] < 0).any() for _, of in _OF_EACH)  # type: ignore[operator]
    return same and all(len(arrays[name]) == int(arrays[of].sum()) for name, of in _OF_EACH)


def _filled(parts: Sequence[NDArray[np.integer]], filler: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows `[B, T]` of parts of several lengths, and where they are not filled up."""
    inside = np.arange(max(map(len, parts)))[None] < np.array([[len(part)] for part in parts])
    rows = np.full(inside.shape, filler, np.int64)
    rows[inside] = np.concatenate(parts)
    return rows, inside
