"""What is remembered of a class so that texts like its own can be written: how often each word, and how long."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.errors import RunError
from plora.problems import Examples, TextClassification
from plora.problems.text_classification import TokenizedTexts, texts_of

SMOOTHING = 100.0
"""Words that are added to those of a class, as all classes use them together."""


@dataclass(frozen=True)
class WordStatistics:
    """Counts over the training texts of old classes: of each word, and of each layout. No text, and no order of words.

    A class is a row of the head in one task: in the domain-incremental scenario each task has texts of its own for
    the same row. A layout is a text whose every word is the mask token: its length, and where special tokens are.

    Args:
        sources: `[S, 2]` task (from 0) and row of each class.
        words: `[·, 3]` class, token id, count.
        lengths: `[·, 3]` class, layout, count.
        layouts: each once.
    """

    sources: NDArray[np.int64]
    words: NDArray[np.int64]
    lengths: NDArray[np.int64]
    layouts: TokenizedTexts

    @classmethod
    def of(
        cls, former: "WordStatistics | None", problem: TextClassification, split: Examples, task: int
    ) -> "WordStatistics":
        """Return the statistics of earlier tasks, if any, and of the training split of one more."""
        texts, mask = texts_of(split), problem.tokenizer.mask_token_id
        special = np.isin(texts.ids, frame(problem))
        owner = np.repeat(split.rows, texts.lengths)
        blank = replace(texts, ids=np.where(special, texts.ids, mask).astype(np.int32))
        if former is not None:
            blank = former.layouts.followed_by([blank])
        _, first, which = np.unique(_contents(blank), return_index=True, return_inverse=True)
        renamed = which[: len(blank) - len(texts)]  # layouts that were there may have another number now
        empty = np.empty((0, 3), np.int64)
        sources = np.empty((0, 2), np.int64) if former is None else former.sources
        words, lengths = [empty if former is None else former.words], [empty if former is None else former.lengths]
        lengths = [np.column_stack([part[:, 0], renamed[part[:, 1]], part[:, 2]]) for part in lengths]
        for row in np.unique(split.rows).tolist():
            tokens, counts = np.unique(texts.ids[~special & (owner == row)], return_counts=True)
            words.append(_triples(len(sources), tokens, counts))
            layouts, counts = np.unique(which[len(renamed) :][split.rows == row], return_counts=True)
            lengths.append(_triples(len(sources), layouts, counts))
            sources = np.concatenate([sources, [[task, row]]])
        return cls(sources, np.concatenate(words), np.concatenate(lengths), blank.subset(first))

    def seeds(
        self, problem: TextClassification, count: int, rng: np.random.Generator
    ) -> tuple[TokenizedTexts, NDArray[np.int64]]:
        """Return `count` texts for each class, each of a layout of the class and of words drawn by their counts.

        Returns:
            `S · count` texts, and `[S · count]` the class of each.
        """
        chosen = []
        for source in range(len(self.sources)):
            found = self.lengths[self.lengths[:, 0] == source]
            chosen.append(rng.choice(found[:, 1], count, p=found[:, 2] / found[:, 2].sum()))
        texts = self.layouts.subset(np.concatenate(chosen))
        sources = np.repeat(np.arange(len(self.sources)), count)
        ids, owner = texts.ids.copy(), np.repeat(sources, texts.lengths)
        blank = ~np.isin(ids, frame(problem))
        for source in range(len(self.sources)):
            found, where = self.words[self.words[:, 0] == source], blank & (owner == source)
            if len(found):
                ids[where] = rng.choice(found[:, 1], int(where.sum()), p=found[:, 2] / found[:, 2].sum())
        return replace(texts, ids=ids), sources

    def leanings(self, vocabulary: Tensor) -> Tensor:
        """Return log p(v | c) − log p(v) `[S, K]` float32: how much more often a class uses a word than all together.

        p(v | c) / p(v) = (n_cv / p(v) + α) / (n_c + α), α = `SMOOTHING`; n_cv / p(v) is 0 for a word that no class
        used, such as one of the new task alone.

        Args:
            vocabulary: `[K]` token ids.
        """
        place = np.full(max(int(vocabulary.max()), int(self.words[:, 1].max(initial=0))) + 1, -1)
        place[vocabulary.cpu().numpy()] = np.arange(len(vocabulary))
        known = self.words[place[self.words[:, 1]] >= 0]
        counts = np.zeros((len(self.sources), len(vocabulary)))
        counts[known[:, 0], place[known[:, 1]]] = known[:, 2]
        shares = counts.sum(0) / max(counts.sum(), 1)
        expected = np.divide(counts, shares, out=np.zeros_like(counts), where=shares > 0)
        return torch.from_numpy(np.log((expected + SMOOTHING) / (counts.sum(1, keepdims=True) + SMOOTHING))).float()

    def state(self) -> dict[str, Tensor]:
        """Return them as tensors."""
        own = {name: torch.from_numpy(getattr(self, name)) for name in ("sources", "words", "lengths")}
        return own | {f"layouts/{name}": tensor for name, tensor in self.layouts.tensors().items()}

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], problem: TextClassification) -> "WordStatistics":
        """Return what `state` returned as statistics.

        Raises:
            RunError: a tensor is missing, or has another shape, type or range.
        """
        for name, width in (("sources", 2), ("words", 3), ("lengths", 3)):
            if name not in state or state[name].dtype != torch.int64 or state[name].shape[1:] != (width,):
                raise RunError(f"the stored statistics have no '{name}' of {width} columns of whole numbers")
        stored = {name.removeprefix("layouts/"): t for name, t in state.items() if name.startswith("layouts/")}
        sources, words, lengths = (state[name].cpu().numpy() for name in ("sources", "words", "lengths"))
        found = cls(sources, words, lengths, problem.restored_texts(stored))
        classes = np.concatenate([found.words[:, 0], found.lengths[:, 0]])
        if classes.max(initial=-1) >= len(found.sources) or found.lengths[:, 1].max(initial=-1) >= len(found.layouts):
            raise RunError("the stored statistics count what they do not name")
        return found


def frame(problem: TextClassification) -> NDArray[np.int64]:
    """Return the ids of tokens that are no words: those that begin, separate, end and fill up texts."""
    tokenizer = problem.tokenizer
    return np.array(sorted({*tokenizer.all_special_ids} - {tokenizer.unk_token_id, tokenizer.mask_token_id}), np.int64)


def _contents(texts: TokenizedTexts) -> NDArray[np.object_]:
    """Return what tells two texts apart, `[N]`."""
    typed = len(texts.types) > 0
    ends = texts.starts + texts.lengths
    found = np.empty(len(texts), dtype=object)
    for number, (start, end) in enumerate(zip(texts.starts.tolist(), ends.tolist(), strict=True)):
        found[number] = texts.ids[start:end].tobytes() + (texts.types[start:end].tobytes() if typed else b"")
    return found


def _triples(source: int, what: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.column_stack([np.full(len(what), source), what, counts]).astype(np.int64)
