"""Prompts that an encoder reads and answers that a decoder writes: the family of T5."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from plora.backbones import Backbone, BackboneConfig, TextBackbone, load_backbone, new_text_backbone
from plora.backbones.continuing import Drawing, continued
from plora.errors import BackboneError, DataError, RunError
from plora.moment import Moment
from plora.problems.base import Batch, Columns, Examples, Problem, stored
from plora.problems.encoded_answers import ARRAYS, AnswerLayout, EncodedAnswers, fit
from plora.problems.encoded_documents import LOSS, NOT_SCORED
from plora.problems.learned_words import words_of
from plora.problems.settings import ProblemSettings, TextToTextSettings
from plora.problems.tokenizer_state import tokenizer_state
from plora.results import ROUGE, SCORES, TokenLikelihoods, rouge
from plora.streams.base import Scenario, Split, Stream
from plora.streams.dialogues import ANSWERS, Dialogue
from plora.streams.documents import Document, Documents


@dataclass(frozen=True)
class Answered:
    """What an encoder-decoder makes of a batch.

    Args:
        logits: `[B, L, V]` of the token at each place of the answer.
        written: of each prompt the tokens that greedy decoding writes, where the score is of what is written.
    """

    logits: Tensor
    written: Sequence[Sequence[int]] | None


class TextToText(Problem):
    """L = − Σ log p(token of the answer | prompt, tokens of the answer before); the network answers by itself.

    An example is a prompt with one answer, without blanks around it. Its end is learned, but counts neither in nats nor
    in bytes. An answer is exact where the likeliest token is right at each place, its end included: greedy decoding
    writes it if and only if that holds. ROUGE is of what greedy decoding writes, which takes a pass for each token.

    Args:
        tokenizer: of the network.
        layout: how prompts and answers become rows.
        score: name of what a cell of the matrix is.

    Source: Raffel et al. 2020 (T5, arXiv 1910.10683).
    """

    record = TokenLikelihoods
    classifies: ClassVar[bool] = False
    items = "prompts"
    size_key = "backbone.max_length"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, layout: AnswerLayout, score: str = "exact_match") -> None:
        self.tokenizer, self.layout, self.score = tokenizer, layout, SCORES[score]

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> TextBackbone:
        """Load an encoder-decoder with the head that writes texts, and its tokenizer.

        Raises:
            BackboneError: as `load_backbone`, or the network is no encoder-decoder.
        """
        if config.kind == "new":
            raise BackboneError("backbone.kind=new: a new network learns its words from a stream; none was given")
        return load_backbone(config, writes=True, encoder_decoder=True)

    @classmethod
    def load_for(cls, settings: ProblemSettings, config: BackboneConfig, stream: Callable[[], Stream]) -> TextBackbone:
        """Load a network, or make one whose words are learned from the training texts of a stream.

        Raises:
            BackboneError: as `load`, or a new network has no `backbone.vocabulary`.
            DataError: the stream has no documents to learn words from.
        """
        if config.kind != "new":
            return cls.load(settings, config)
        return new_text_backbone(config, words_of(stream(), config, ended=True), encoder_decoder=True)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a network that `load` returned.

        Raises:
            BackboneError: nothing says how a text ends, or what the decoder reads first.
        """
        assert isinstance(settings, TextToTextSettings)
        assert isinstance(backbone, TextBackbone)
        tokenizer, described = backbone.tokenizer, backbone.network.config
        end, start = tokenizer.eos_token_id, described.decoder_start_token_id
        for token, what in ((end, "token that ends a text (eos_token)"), (start, "decoder_start_token_id")):
            if token is None:
                raise BackboneError(
                    f"backbone '{config.label}' has no {what}, so its decoder could not be told where an answer "
                    f"{'begins' if token is start else 'ends'}; add one to its files"
                )
        layout = AnswerLayout(start, int(end), int(tokenizer.pad_token_id), config.max_length, settings.answer_length)
        return cls(tokenizer, layout, settings.score)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse anything but prompts with one answer each."""
        for task in stream.tasks:
            for name, split in task.splits():
                assert isinstance(split, Documents)
                for number, document in enumerate(split.texts, start=1):
                    if _asked(document) is None:
                        got = (
                            "a text without an answer"
                            if isinstance(document, str)
                            else "a conversation of another form"
                        )
                        raise DataError(
                            f"task '{task.name}': document {number} of the {name} split is {got}; problem "
                            "'text_to_text' needs one prompt and its answer each (problem 'causal_lm' takes others)"
                        )

    def encode(self, split: Split, first_row: int = 0) -> EncodedAnswers:
        """Return prompts and answers as tokens; what looks like a special token in a text is text."""
        assert isinstance(split, Documents)
        both = [_asked(document) or (str(document), "") for document in split.texts]
        for number, pair in enumerate(both, start=1):
            try:
                "".join(pair).encode()
            except UnicodeEncodeError as error:
                raise DataError(
                    f"document {number} cannot be written in UTF-8 ({error.reason} at character {error.start}); "
                    "correct it"
                ) from None
        prompts = self._tokens([prompt for prompt, _ in both])
        answers = self._tokens([answer for _, answer in both])
        layout = self.layout
        long = sum(
            len(p) > layout.width or len(a) > layout.answer for (p, _), (a, _) in zip(prompts, answers, strict=True)
        )
        asked = [_shortened(ids, special, layout.width) for ids, special in prompts]
        said = [(ids[: layout.answer], special[: layout.answer]) for ids, special in answers]
        texts = [answer.encode() for _, answer in both]
        return EncodedAnswers(
            np.array([token for ids in asked for token in ids], np.int32),
            np.array([len(ids) for ids in asked], np.int64),
            np.array([token for ids, _ in said for token in ids], np.int32),
            np.array([len(ids) for ids, _ in said], np.int64),
            np.array([1 - one for _, special in said for one in special], np.uint8),
            np.frombuffer(b"".join(texts), np.uint8).copy(),
            np.array([len(text) for text in texts], np.int64),
            layout,
            split.fingerprint(),
            long,
        )

    def _tokens(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """The tokens of each text, and which of them are special ones (1)."""
        found = self.tokenizer(
            [*texts],
            split_special_tokens=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
        return [*zip(found["input_ids"], found["special_tokens_mask"], strict=True)]

    def given(self, inputs: Sequence[object]) -> Documents:
        """Return texts as prompts, without answers."""
        texts = tuple(text for text in inputs if isinstance(text, str))
        if len(texts) < len(inputs):
            raise DataError(f"expected texts, one for each prompt, got {type(inputs[0]).__name__}")
        return Documents(texts)

    def shown(self, examples: Examples) -> str | None:
        """Return the tokens of the first prompt as text, and those of its answer in ⟦ ⟧."""
        assert isinstance(examples, EncodedAnswers)
        decode = self.tokenizer.backend_tokenizer.decode
        prompt, answer = (
            str(decode(examples.part(name, 0).tolist(), skip_special_tokens=False)) for name in ("prompts", "replies")
        )
        return f"{prompt} ⟦{answer}⟧"

    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedAnswers:
        """Return prompts and answers that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        arrays = {name: tensor.numpy() for name, tensor in stored(tensors, ARRAYS, "prompts").items()}
        if not fit(arrays):
            raise RunError("the parts of the stored prompts and answers differ in length")
        return EncodedAnswers(**arrays, layout=self.layout)  # type: ignore[arg-type]

    def run(
        self, network: nn.Module, inputs: Mapping[str, Tensor], asked: Mapping[str, bool], at: Moment | None = None
    ) -> Answered:
        """Return the scores of the answers' tokens; in evaluation also what is written, where the score is of that."""
        assert isinstance(network, PreTrainedModel)
        logits = network(**inputs, use_cache=False, **asked).logits
        written = None
        if at is None and self.score.name in ROUGE:
            pairs = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].tolist(), strict=True)
            prompts = [[token for token, own in zip(*pair, strict=True) if own] for pair in pairs]
            written = continued(network, prompts, self.layout.end, self.layout.answer, Drawing())
        return Answered(logits, written)

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> None:  # noqa: ANN401  (as every problem has it)
        """Return none: the network answers by itself."""

    def outputs(self, found: Answered, scores: Tensor | None) -> dict[str, Tensor]:
        """Return `logits` `[B, L, V]`, and `written` `[B, K]` where it was asked for, filled up with the end."""
        if found.written is None:
            return {"logits": found.logits}
        width = max(1, *map(len, found.written))
        rows = [[*row, *[self.layout.end] * (width - len(row))] for row in found.written]
        return {"logits": found.logits, "written": torch.tensor(rows)}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the summed `nats` of the answers' tokens, their ends included."""
        return {LOSS: _nats(outputs, batch).sum()}

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return nats, tokens and bytes of each answer, whether it is exact, and its ROUGE where that was asked for."""
        labels, counted = batch.targets["labels"], batch.targets["counted"]
        nats = (_nats(outputs, batch) * counted).detach().double().sum(1)
        wrong = (outputs["logits"].argmax(2) != labels) & (labels != NOT_SCORED)
        columns: Columns = {
            "nll": nats.cpu().numpy(),
            "tokens": counted.sum(1).cpu().numpy().astype(np.int64),
            "bytes": batch.targets["bytes"].cpu().numpy(),
            "exact": ~wrong.any(1).cpu().numpy(),
        }
        if "written" in outputs:
            texts, sizes = batch.targets["texts"].cpu().numpy().astype(np.uint8), columns["bytes"].tolist()
            right = [bytes(row[:size]).decode() for row, size in zip(texts, sizes, strict=True)]
            pairs = zip(right, self.texts_of(outputs["written"].tolist()), strict=True)
            columns["rouge"] = np.array([rouge(*pair) for pair in pairs], np.float64)
        return columns

    def texts_of(self, written: Sequence[Sequence[int]]) -> list[str]:
        """Return what tokens say, special ones left out."""
        decode = self.tokenizer.backend_tokenizer.decode
        return [str(decode([*row], skip_special_tokens=True)) for row in written]

    def mixed(self, each: Sequence[Columns]) -> Columns:
        """Return − log of the mean of p_k(answer) = exp(− nats of model k), for each answer; none is exact."""
        nats = np.stack([columns["nll"] for columns in each]).astype(np.float64)
        same = {name: each[0][name] for name in ("tokens", "bytes")}
        return {"nll": np.log(len(each)) - np.logaddexp.reduce(-nats, axis=0), **same}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> TokenLikelihoods:
        """Return the record."""
        return TokenLikelihoods(task, example, **columns)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of the tokenizer's whole state and of how prompts and answers become rows."""
        return hashlib.sha256(f"{tokenizer_state(self.tokenizer)}|{self.layout}".encode()).hexdigest()


def _asked(document: Document) -> tuple[str, str] | None:
    """Prompt and answer of a document, without blanks around the answer; None where it is another one."""
    if not isinstance(document, Dialogue) or [role for role, _ in document.messages] != ["user", ANSWERS]:
        return None
    (_, prompt), (_, answer) = document.messages
    return prompt, answer.strip()


def _shortened(ids: list[int], special: list[int], width: int) -> list[int]:
    """A prompt of at most `width` tokens, without its beginning where it is longer; special tokens stay."""
    over = len(ids) - width
    if over <= 0:
        return ids
    first = special.index(0)
    return ids[:first] + ids[first + over :]


def _nats(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """− log p of each token of the answers, `[B, L]`, 0 where nothing stands."""
    logits = outputs["logits"].float().transpose(1, 2)
    return F.cross_entropy(logits, batch.targets["labels"], ignore_index=NOT_SCORED, reduction="none")
