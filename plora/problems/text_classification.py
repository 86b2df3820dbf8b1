"""Text classification: token ids in, one feature vector per text out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from plora.backbones import Backbone, BackboneConfig, Pooling, TextBackbone, load_backbone
from plora.cache import left_out
from plora.errors import BackboneError, DataError, RunError
from plora.fingerprint import hash_tensors
from plora.problems.base import EncodedInputs, Examples, LabelledExamples, Problem, stored
from plora.problems.settings import ProblemSettings
from plora.problems.tokenizer_state import tokenizer_state
from plora.streams.base import Split, Texts
from plora.tensor_file import save_tensors

_PROBES = ("one", "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen")
_ROUNDING = 1e-4
"""What may differ, as a share of the largest feature."""
_SEAL = "sha256"
"""In the header of a cached split."""
_ARRAYS = {"ids": torch.int32, "types": torch.int8, "lengths": torch.int64, "cut": torch.bool}


@dataclass(frozen=True)
class TokenizedTexts(EncodedInputs):
    """Token ids of N texts, one after the other.

    Args:
        ids: `[Σ lengths]` int32.
        types: `[Σ lengths]` int8 segment ids (0, 1 for the second text of a pair), or empty where unused.
        lengths: `[N]` int64.
        cut: `[N]` bool, texts longer than the limit.
        pad: the id that fills shorter texts up.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    lengths: NDArray[np.int64]
    cut: NDArray[np.bool_]
    pad: int
    starts: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", np.cumsum(self.lengths) - self.lengths)

    @property
    def truncated(self) -> int:
        """How many texts were longer than the limit."""
        return int(self.cut.sum())

    def followed_by(self, others: Sequence["TokenizedTexts"]) -> "TokenizedTexts":
        """Return these texts and the others, one after the other."""
        parts = (self, *others)
        return TokenizedTexts(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.types for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.cut for part in parts]),
            self.pad,
        )

    def subset(self, indices: NDArray[np.int64]) -> "TokenizedTexts":
        """Return some of the texts, in the order of `indices`."""
        lengths = self.lengths[indices]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.repeat(self.starts[indices], lengths) + within
        types = self.types[positions] if len(self.types) else self.types
        return TokenizedTexts(self.ids[positions], types, lengths, self.cut[indices], self.pad)

    def tensors(self) -> dict[str, Tensor]:
        """Return ids, segment ids, lengths, and which were cut."""
        return {name: torch.from_numpy(getattr(self, name)) for name in _ARRAYS}

    def collate(self, indices: NDArray[np.int64], draw: int | None = None) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` (and `token_type_ids`) `[B, T]`, T = the longest text of the batch."""
        lengths = self.lengths[indices]
        columns = np.arange(int(lengths.max()))
        inside = columns < lengths[:, None]
        positions = np.where(inside, self.starts[indices][:, None] + columns, 0)
        inputs = {
            "input_ids": torch.from_numpy(np.where(inside, self.ids[positions], self.pad).astype(np.int64)),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)),
        }
        if len(self.types):
            inputs["token_type_ids"] = torch.from_numpy(np.where(inside, self.types[positions], 0).astype(np.int64))
        return inputs


def texts_of(examples: Examples) -> TokenizedTexts:
    """Return the token ids of some examples.

    Raises:
        RunError: they are no texts.
    """
    texts = getattr(examples, "inputs", None)
    if not isinstance(texts, TokenizedTexts):
        raise RunError(f"this needs texts, and the examples are of kind {type(examples).__name__}; use method 'replay'")
    return texts


class TextClassification(Problem):
    """Texts, or pairs of texts, with one label each.

    Args:
        tokenizer: of the backbone.
        max_length: longest input in tokens; longer texts lose their end, the longer text of a pair first.
        pooling: `mean` over the tokens of the text, or the `first` token.
        cache: folder for tokenised splits, or None.
    """

    items = "texts"
    size_key = "backbone.max_length"

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, pooling: Pooling, cache: Path | None = None
    ) -> None:
        self.tokenizer, self.max_length, self.pooling, self.cache = tokenizer, max_length, pooling, cache
        self._pad = int(tokenizer.pad_token_id or 0)
        self._encoded: dict[str, TokenizedTexts] = {}

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> TextBackbone:
        """Load an encoder or decoder and its tokenizer; refuse one whose features depend on padding."""
        if config.kind == "new":
            raise BackboneError(
                "backbone.kind=new: a new network has no tokenizer, which texts need; name a pretrained one by "
                "backbone.id"
            )
        backbone = load_backbone(config)
        _refuse_leaks(cls(backbone.tokenizer, config.max_length, backbone.pooling), backbone, config.label)
        return backbone

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone; splits are kept tokenised below `cache`."""
        assert isinstance(backbone, TextBackbone)
        return cls(backbone.tokenizer, config.max_length, backbone.pooling, cache / "tokens" if cache else None)

    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        """Return the texts of a split and their rows; one split is tokenised once."""
        assert isinstance(split, Texts)
        rows, weights = split.labels + first_row, self.weights_of(split.labels)
        return LabelledExamples(self.tokenized(split), rows, split.fingerprint(), weights, self.balanced)

    def given(self, inputs: Sequence[object]) -> Texts:
        """Return texts, or pairs of texts."""
        texts = tuple(text for text in inputs if isinstance(text, str | tuple))
        if len(texts) < len(inputs):
            raise DataError(f"expected texts, or pairs of texts, got {type(inputs[0]).__name__}")
        return Texts(texts, np.zeros(len(texts), dtype=np.int64))

    def tokenized(self, split: Texts) -> TokenizedTexts:
        """Tokenise a split once: kept in memory and, by content hash, on disk."""
        key = hashlib.sha256(f"{self.fingerprint()}:{split.fingerprint()}".encode()).hexdigest()
        if key not in self._encoded:
            path = self.cache / f"{key}.safetensors" if self.cache else None
            encoded = _read(path, self._pad) if path else None
            if encoded is None:
                encoded = self.tokenize(split)
                if path:
                    _keep(path, encoded)
            self._encoded[key] = encoded
        return self._encoded[key]

    def tokenize(self, split: Texts) -> TokenizedTexts:
        """Tokenise a split that nobody will ask for again."""
        pairs = isinstance(split.inputs[0], tuple)
        for number, text in enumerate(split.inputs, start=1):
            if isinstance(text, tuple) != pairs:
                got, expected = ("one text", "a pair") if pairs else ("a pair", "one text")
                raise DataError(f"text {number} is {got}, text 1 is {expected}; give what the task was learned on")
        first = [text[0] if isinstance(text, tuple) else text for text in split.inputs]
        second = [text[1] for text in split.inputs if isinstance(text, tuple)] if pairs else None
        encoding = self.tokenizer(first, second, truncation=True, max_length=self.max_length)
        encodings = encoding.encodings or []
        typed = "token_type_ids" in self.tokenizer.model_input_names
        return TokenizedTexts(
            np.concatenate([np.asarray(e.ids, dtype=np.int32) for e in encodings]),
            np.concatenate([np.asarray(e.type_ids if typed else [], dtype=np.int8) for e in encodings]),
            np.asarray([len(e.ids) for e in encodings], dtype=np.int64),
            np.asarray([bool(e.overflowing) for e in encodings], dtype=np.bool_),
            self._pad,
        )

    def restored(self, tensors: Mapping[str, Tensor]) -> LabelledExamples:
        """Return texts and rows that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        texts = self.restored_texts({name.removeprefix("inputs/"): tensor for name, tensor in tensors.items()})
        rows = tensors.get("rows")
        if rows is None or rows.dtype != torch.int64 or rows.shape != (len(texts),):
            raise RunError("the stored texts have no 'rows', one for each of them")
        return LabelledExamples(texts, rows.cpu().numpy(), weights=self.restored_weights(tensors, len(texts)))

    def restored_texts(self, tensors: Mapping[str, Tensor]) -> TokenizedTexts:
        """Return texts that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        arrays = {name: tensor.numpy() for name, tensor in stored(tensors, _ARRAYS, "texts").items()}
        total = int(arrays["lengths"].sum())
        if (
            len(arrays["ids"]) != total
            or len(arrays["types"]) not in (0, total)
            or len(arrays["cut"]) != len(arrays["lengths"])
        ):
            raise RunError("the parts of the stored texts differ in length")
        return TokenizedTexts(**arrays, pad=self._pad)

    def features(self, found: BaseModelOutput, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean over a text's own tokens of the last states, or its first token's, `[B, d]`."""
        return self.pooled(found.last_hidden_state.float(), inputs)

    def depths(self, found: BaseModelOutput, inputs: Mapping[str, Tensor], blocks: int, below: int) -> Tensor:
        """Return features `[B, D, d]` of what enters each block from the first adapted one on, and of the output.

        Blocks below do not run where their work is kept. A network that does not say what enters its blocks, one after
        the other, has its output alone.
        """
        entered, last = getattr(found, "hidden_states", None) or (), found.last_hidden_state
        upper = entered[below:-1] if len(entered) == blocks + 1 else ()
        depths = [*(states for states in upper if states.shape == last.shape), last]
        return torch.stack([self.pooled(states.float(), inputs) for states in depths], 1)

    def pooled(self, states: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return one vector `[B, d]` for the states `[B, T, d]` of each text."""
        if self.pooling == "first":
            return states[:, 0]
        mask = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(1) / mask.sum(1)

    def fingerprint(self) -> str:
        """Return the sha256 of the tokenizer's whole state, the length limit and the pooling."""
        if not hasattr(self, "_fingerprint"):
            names = ",".join(self.tokenizer.model_input_names)
            side = self.tokenizer.truncation_side  # which end of a long text is kept
            text = f"{tokenizer_state(self.tokenizer)}|{names}|{self.max_length}|{side}|{self.pooling}"
            self._fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return self._fingerprint


@torch.no_grad()
def _refuse_leaks(problem: TextClassification, backbone: TextBackbone, label: str) -> None:
    """Refuse a network for which a text is another one beside a longer text: its padding reaches its features."""
    texts = problem.tokenize(problem.given(_PROBES))
    found = []
    for indices in ([0], [0, 1]):
        inputs = texts.collate(np.array(indices))
        found.append(problem.features(backbone.network(**inputs), inputs)[0])
    alone, beside = found
    difference = float((alone - beside).abs().max() / alone.abs().max().clamp(min=1e-12))
    if not difference < _ROUNDING:
        raise BackboneError(
            f"backbone '{label}': {type(backbone.network).__name__} lets padding reach its features: beside a "
            f"longer text those of a text differ by {difference:.1%}, so a label would depend on the batch; take a "
            "network that heeds its attention_mask"
        )


def _read(path: Path, pad: int) -> TokenizedTexts | None:
    """A cached split; None when there is none, or when the file is damaged (it is then written again)."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in _ARRAYS}  # not mapped
            said = (file.metadata() or {}).get(_SEAL)
    except (OSError, SafetensorError):
        return None
    if said != _seal(path, tensors):
        return None
    return TokenizedTexts(**{name: tensor.numpy() for name, tensor in tensors.items()}, pad=pad)


def _keep(path: Path, texts: TokenizedTexts) -> None:
    """Write a split to the cache; where that is not possible it costs time, not the run."""
    try:
        save_tensors(path, texts.tensors(), {_SEAL: _seal(path, texts.tensors())})
    except OSError as error:
        left_out(error)


def _seal(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of what a file holds, and of what it is called: of its tokenizer and texts."""
    return hashlib.sha256(f"{path.stem}:{hash_tensors(sorted(tensors.items()))}".encode()).hexdigest()
