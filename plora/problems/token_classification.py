"""A tag for every word of a sentence: entities by their begin, inside and outside."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from plora.backbones import Backbone, BackboneConfig, TextBackbone
from plora.errors import BackboneError, DataError, RunError
from plora.moment import Moment
from plora.problems.base import Batch, Columns, Problem, masked_cross_entropy, stored
from plora.problems.encoded_sentences import ARRAYS, WORDS, EncodedSentences, SentenceLayout
from plora.problems.settings import ProblemSettings, TokenClassificationSettings
from plora.problems.text_classification import TextClassification
from plora.problems.tokenizer_state import tokenizer_state
from plora.results import SCORES, WordTags
from plora.streams.base import Split
from plora.streams.tagged_sentences import OUTSIDE, TaggedSentences


class TokenClassification(Problem):
    """L = mean over words of −log softmax(z | rows that compete)_tag; z are a head's scores of the word's first token.

    The rows that compete are those that the scenario gives the task, and always `O`. Where types arrive in steps, there
    is one `O` for all of them: words of other steps' entities are learned as `O`, and where sentences are scored, tags
    that were not learned yet are `O`.

    Args:
        tokenizer: of the backbone.
        layout: how sentences become rows.
        score: name of what a cell of the matrix is.

    Source: Devlin et al. 2019 (BERT, arXiv 1810.04805), section 5.3: the first piece of a word stands for it.
    """

    record = WordTags
    classifies: ClassVar[bool] = False
    items = "sentences"
    size_key = "backbone.max_length"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, layout: SentenceLayout, score: str = "entity_f1") -> None:
        self.tokenizer, self.layout, self.score = tokenizer, layout, SCORES[score]

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> TextBackbone:
        """Load an encoder or decoder and its tokenizer; refuse one whose features depend on padding."""
        return TextClassification.load(settings, config)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone that `load` returned.

        Raises:
            BackboneError: windows would share all of their tokens.
        """
        assert isinstance(settings, TokenClassificationSettings)
        assert isinstance(backbone, TextBackbone)
        tokenizer = backbone.tokenizer
        before, after = _around(tokenizer)
        width = config.max_length - len(before) - len(after)
        context = width // 2 if settings.context is None else settings.context
        if context >= width:
            raise BackboneError(
                f"problem.context={context} leaves no new token in a window: rows of backbone.max_length="
                f"{config.max_length} tokens have {width} beside special ones; set it to {width - 1} or less"
            )
        layout = SentenceLayout(before, after, width, context, int(tokenizer.pad_token_id or 0))
        return cls(tokenizer, layout, settings.score)

    def encode(self, split: Split, first_row: int = 0) -> EncodedSentences:
        """Return the sentences of a split as tokens; what looks like a special token in a word is text."""
        assert isinstance(split, TaggedSentences)
        ids, places = list[NDArray[np.int32]](), list[NDArray[np.int64]]()
        texts = [" ".join(words) for words in split.sentences]
        for number, text in enumerate(texts, start=1):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"sentence {number} cannot be written in UTF-8 ({error.reason} at character {error.start}); "
                    "correct it"
                ) from None
        own = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        found = self.tokenizer(texts, return_offsets_mapping=True, **own) if texts else {"input_ids": []}
        for row, tokens in enumerate(found["input_ids"]):
            begins = np.cumsum([0, *(len(word) + 1 for word in split.sentences[row][:-1])])
            ends = np.array([last for _, last in found["offset_mapping"][row]], np.int64)
            # A word of which the tokenizer keeps nothing is tagged by what comes after it.
            places.append(np.minimum(np.searchsorted(ends, begins, side="right"), max(len(tokens) - 1, 0)))
            ids.append(np.array(tokens or [self.layout.pad], np.int32))
        counts = np.array([len(words) for words in split.sentences], np.int64)
        offset = 0 if split.background else first_row
        return EncodedSentences(
            np.concatenate([np.empty(0, np.int32), *ids]),
            np.array([len(one) for one in ids], np.int64),
            np.concatenate([np.empty(0, np.int64), *places]),
            counts,
            np.array([tag for tags in split.tags for tag in tags], np.int64) + offset,
            np.full(len(split), first_row, np.int64),
            np.full(len(split), offset, np.int64),
            self.layout,
            split.fingerprint(),
        )

    def given(self, inputs: Sequence[object]) -> TaggedSentences:
        """Return sentences as words: a text is cut at its blanks, and lists are words already."""
        found = []
        for number, one in enumerate(inputs, start=1):
            words = tuple(one.split()) if isinstance(one, str) else one
            if not isinstance(words, list | tuple) or not all(isinstance(word, str) and word for word in words):
                raise DataError(f"input {number} is {type(one).__name__}; expected a text, or a list of words")
            if not words:
                raise DataError(f"input {number} has no word; leave it out")
            found.append(tuple(words))
        return TaggedSentences(tuple(found), tuple((0,) * len(words) for words in found), (OUTSIDE,))

    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedSentences:
        """Return sentences that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        arrays = {name: tensor.numpy() for name, tensor in stored(tensors, ARRAYS, "sentences").items()}
        number = len(arrays["lengths"])
        fit = all(len(arrays[name]) == number for name in ("counts", "first", "outside"))
        sums = {"ids": arrays["lengths"], "places": arrays["counts"], "tags": arrays["counts"]}
        if not fit or any(len(arrays[name]) != int(lengths.sum()) for name, lengths in sums.items()):
            raise RunError("the parts of the stored sentences differ in length")
        return EncodedSentences(**arrays, layout=self.layout)  # type: ignore[arg-type]

    def run(
        self, network: nn.Module, inputs: Mapping[str, Tensor], asked: Mapping[str, bool], at: Moment | None = None
    ) -> Any:  # noqa: ANN401  (as every problem has it)
        """Return what the network makes of the rows."""
        return network(**{name: tensor for name, tensor in inputs.items() if name != WORDS}, **asked)

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401  (as every problem has it)
        """Return the last state of each word's first token, `[P, d]`."""
        states: Tensor = found.last_hidden_state
        return states.flatten(0, 1)[inputs[WORDS]].float()

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the summed `cross_entropy` of the words, each among the rows of its task and `O`."""
        targets, scores = batch.targets, outputs["scores"]
        if len(competing):
            visible = competing[targets["first"]].scatter(1, targets["outside"][:, None], True)
        else:
            visible = torch.ones_like(scores, dtype=torch.bool)
        return {"cross_entropy": masked_cross_entropy(scores[:, : visible.shape[1]], targets["rows"], visible).sum()}

    def dense_logits(self, outputs: Mapping[str, Tensor], classes: int) -> Tensor:
        """Return logits `[P, C, 1, 1]` of the first C tags for each word, each by itself."""
        return outputs["scores"][:, : classes or None, None, None].float()

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `true` and `predicted` `[B, W]`: the rows of each word's tags, −1 after the last word.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
            visible: `[rows]` the tags that may be predicted, others are `O`, the first; without rows: all.
        """
        scores, truth = outputs["scores"].float().cpu(), batch.targets["truth"].cpu().numpy()
        if len(visible):
            hidden = torch.from_numpy(~visible)[: scores.shape[1]]
            scores = scores.masked_fill(hidden, float("-inf"))
            truth = np.where((truth < 0) | visible[np.maximum(truth, 0)], truth, 0)
        predicted = np.full(truth.shape, -1, np.int32)
        owner, place = (batch.targets[name].cpu().numpy() for name in ("owner", "place"))
        predicted[owner, place] = scores.argmax(1).numpy()
        return {"true": truth.astype(np.int32), "predicted": predicted}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> WordTags:
        """Return the record."""
        return WordTags.of_padded(task, example, columns["true"], columns["predicted"], names)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of the tokenizer's whole state and of how sentences become rows."""
        return hashlib.sha256(f"{tokenizer_state(self.tokenizer)}|{self.layout}".encode()).hexdigest()


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special tokens before and after a text."""
    own, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    first = next((at for at in range(len(whole)) if whole[at : at + len(own)] == own), 0)
    return tuple(whole[:first]), tuple(whole[first + len(own) :])
