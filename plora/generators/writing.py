"""Texts that are to be written when a class is given, as a problem: what a causal language model learns."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from plora.backbones import Backbone, BackboneConfig, TextBackbone, load_backbone, positions
from plora.errors import BackboneError, DataError, RunError
from plora.problems import Batch, Examples, Problem, ProblemSettings
from plora.problems.base import Columns, Indices
from plora.results import SCORES, TokenLikelihoods
from plora.streams.base import Split

NOT_SCORED = -100
_KEPT = {"ids", "lengths", "begun"}


@dataclass(frozen=True)
class TextsToWrite(Examples):
    """N texts, each after the prompt that asks for it and with its end.

    Args:
        tokens: of prompt, text and end.
        begun: how many of them are the prompt's, the start included.
    """

    tokens: tuple[tuple[int, ...], ...]
    begun: tuple[int, ...]

    @property
    def rows(self) -> Indices:  # type: ignore[override]  # answers are tokens
        """None."""
        return np.empty(0, np.int64)

    @property
    def costs(self) -> Indices:
        """`[N]` tokens."""
        return np.array([len(tokens) for tokens in self.tokens], np.int64)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return `input_ids` and `attention_mask` `[B, T]`, and as `labels` `[B, T]` the token after each of a text."""
        shown = [(self.tokens[index], self.begun[index]) for index in indices.tolist()]
        width = max(len(tokens) for tokens, _ in shown)
        ids = torch.zeros(len(shown), width, dtype=torch.long)
        inside = torch.zeros(len(shown), width, dtype=torch.long)
        labels = torch.full((len(shown), width), NOT_SCORED)
        for row, (tokens, begun) in enumerate(shown):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            inside[row, : len(tokens)] = 1
            labels[row, begun - 1 : len(tokens) - 1] = torch.tensor(tokens[begun:])
        inputs = {"input_ids": ids, "attention_mask": inside}
        return Batch(inputs, {"labels": labels}, indices, {"surprise": int((labels != NOT_SCORED).sum())})

    def subset(self, indices: Indices) -> "TextsToWrite":
        """Return some of the texts."""
        chosen = indices.tolist()
        return TextsToWrite(tuple(self.tokens[i] for i in chosen), tuple(self.begun[i] for i in chosen))

    def followed_by(self, others: "Sequence[TextsToWrite]") -> "TextsToWrite":
        """Return these texts and others."""
        every = (self, *others)
        return TextsToWrite(
            tuple(tokens for one in every for tokens in one.tokens),
            tuple(begun for one in every for begun in one.begun),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return all tokens, and of each text how many there are and how many of these ask for it."""
        ids = torch.tensor([token for tokens in self.tokens for token in tokens])
        return {"ids": ids, "lengths": torch.from_numpy(self.costs), "begun": torch.tensor(self.begun)}


class Writing(Problem):
    """L = − Σ log p(token | class, tokens before), over the tokens of the texts; the network answers by itself.

    An example is `<start> class: text <end>`; the tokens after the colon count, the end included. It is no problem of
    a run: what it scores is not shown.

    Args:
        tokenizer: of the network.
        length: most tokens of a text.
        places: tokens that the network can read at once; None where nothing says so.

    Raises:
        BackboneError: no token ends a text.
    """

    score = SCORES["nats_per_token"]
    record = TokenLikelihoods
    classifies: ClassVar[bool] = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int, places: int | None) -> None:
        if tokenizer.eos_token_id is None:
            raise BackboneError(
                "the tokenizer of what writes texts has no token that ends a text (eos_token), so what it writes would "
                "never end; choose another generator.id"
            )
        self.tokenizer, self.length, self.places = tokenizer, length, places
        self.end = int(tokenizer.eos_token_id)
        self.start = self.end if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> TextBackbone:
        """Load a network with its head that continues texts."""
        return load_backbone(config, writes=True)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a network that `load` returned."""
        assert isinstance(backbone, TextBackbone)
        return cls(backbone.tokenizer, config.max_length, positions(backbone.network))

    @property
    def words(self) -> str:
        """All that decides which tokens a text is."""
        return f"{self.tokenizer.backend_tokenizer.to_str()} {self.tokenizer.eos_token} {self.tokenizer.bos_token}"

    def prompt(self, name: str) -> list[int]:
        """Return the tokens that a text of a class begins after.

        Raises:
            BackboneError: with a text after them they are more than the network has positions for.
        """
        found = [self.start, *self.tokenizer(f"{name}:", add_special_tokens=False)["input_ids"]]
        if self.places is not None and len(found) + self.length + 1 > self.places:
            raise BackboneError(
                f"what writes texts has {self.places} positions; {len(found)} for '{name}' and {self.length} for its "
                f"text do not fit; set backbone.max_length={max(self.places - len(found) - 1, 0)} or less, or choose "
                "another generator.id"
            )
        return found

    def encode(self, split: Split, first_row: int = 0) -> TextsToWrite:
        """Encode pairs of the name of a class and a text of it."""
        tokens, begun = [], []
        for pair in split.read(np.arange(len(split))):
            if not isinstance(pair, tuple):
                raise DataError(f"what writes texts learns pairs of the name of a class and a text, got {pair!r}")
            name, text = pair
            prompt = self.prompt(name)
            ids = self.tokenizer(f" {text}", add_special_tokens=False)["input_ids"][: self.length]
            tokens.append((*prompt, *ids, self.end))
            begun.append(len(prompt))
        return TextsToWrite(tuple(tokens), tuple(begun))

    def restored(self, tensors: Mapping[str, Tensor]) -> TextsToWrite:
        """Return texts that were kept."""
        if tensors.keys() != _KEPT:
            raise RunError(
                f"texts to write are {', '.join(sorted(_KEPT))}, and {', '.join(sorted(tensors))} was stored"
            )
        parts = torch.split(tensors["ids"], tensors["lengths"].tolist())
        return TextsToWrite(tuple(tuple(part.tolist()) for part in parts), tuple(tensors["begun"].tolist()))

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> None:  # noqa: ANN401  (a class per network)
        """Return none."""

    def outputs(self, found: Any, scores: Tensor | None) -> dict[str, Tensor]:  # noqa: ANN401
        """Return `logits` `[B, T, words]`."""
        return {"logits": found.logits}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the summed `surprise` of the texts' tokens."""
        return {"surprise": _surprise(outputs, batch).sum()}

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return the surprise, tokens and bytes of each text."""
        labels = batch.targets["labels"].cpu()
        texts = [self.tokenizer.decode(row[row != NOT_SCORED], skip_special_tokens=True) for row in labels]
        return {
            "nll": _surprise(outputs, batch).double().sum(dim=1).cpu().numpy(),
            "tokens": (labels != NOT_SCORED).sum(dim=1).numpy(),
            "bytes": np.array([len(text.encode()) for text in texts], np.int64),
        }

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> TokenLikelihoods:
        """Return the record."""
        return TokenLikelihoods(task, example, **columns)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of tokenizer and length."""
        return hashlib.sha256(f"{self.words} {self.length}".encode()).hexdigest()


def _surprise(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """Return − log p of the token after each token `[B, T]`, 0 where that is not scored."""
    scores = outputs["logits"].float().transpose(1, 2)
    return F.cross_entropy(scores, batch.targets["labels"], ignore_index=NOT_SCORED, reduction="none")
