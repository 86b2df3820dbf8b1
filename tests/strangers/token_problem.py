"""A stranger: documents as bytes, learned by a causal language model, in nats per byte."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from transformers import GPT2LMHeadModel

from plora.backbones import Backbone, BackboneConfig
from plora.errors import DataError, RunError
from plora.fingerprint import hash_tensors
from plora.problems import Batch, Examples, Problem, ProblemSettings
from plora.results import SCORES, TokenLikelihoods
from plora.streams.base import Scenario, Split, Stream, StreamSource, Task

Indices = NDArray[np.int64]
BEGIN = 256
"""Id before the first byte."""


@dataclass(frozen=True)
class Documents(Split):
    """Bytes; a document may begin with a prompt, up to its last `>`, which is read and not predicted."""

    documents: tuple[bytes, ...]
    labels: None = None

    def __len__(self) -> int:
        return len(self.documents)

    def read(self, indices: Indices) -> Sequence[bytes]:
        """Return some documents."""
        return [self.documents[index] for index in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 of all documents."""
        return hashlib.sha256(repr(self.documents).encode()).hexdigest()


class DocumentStream(StreamSource):
    """Made-up languages: each task has letters of its own."""

    kind: Literal["token_problem:DocumentStream"] = "token_problem:DocumentStream"
    alphabets: tuple[str, ...] = ("abc", "xyz")
    documents: int = Field(default=16, ge=1)
    prompts_only: bool = False
    """Nothing of a document is predicted."""

    def load(self) -> Stream:
        """Draw the documents of each task."""
        tasks = []
        for number, letters in enumerate(self.alphabets):
            splits = []
            for split in range(3):
                rng = np.random.default_rng([number, split])
                drawn = ["".join(rng.choice([*letters], rng.integers(4, 12))) for _ in range(self.documents)]
                said = [f"{letters[0]}>{'' if self.prompts_only else text}" for text in drawn]
                splits.append(Documents(tuple(text.encode() for text in said)))
            tasks.append(Task(f"of {letters}", (), *splits))
        return Stream("languages", tuple(tasks), ("task", "domain"))


@dataclass(frozen=True)
class EncodedDocuments(Examples):
    """Bytes of N documents; with `crop` a random window of each is trained on."""

    documents: tuple[bytes, ...]
    crop: int = 0
    fingerprint: str = ""

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        """Whether an example is always the same."""
        return not self.crop

    @property
    def rows(self) -> Indices:  # type: ignore[override]
        """No rows."""
        return np.empty(0, np.int64)

    @property
    def costs(self) -> Indices:
        """Bytes."""
        return np.array([len(document) for document in self.documents], np.int64)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return `input_ids` and `labels` `[B, T]`, −100 where nothing is predicted."""
        shown = [self._window(index, draw) for index in indices.tolist()]
        width = max(len(document) for document in shown)
        ids = torch.zeros(len(shown), width, dtype=torch.long)
        labels = torch.full((len(shown), width), -100)
        for row, document in enumerate(shown):
            values = torch.tensor([*document])
            ids[row, : len(document)] = torch.cat([torch.tensor([BEGIN]), values[:-1]])
            first = document.rfind(b">") + 1
            labels[row, first : len(document)] = values[first:]
        inputs = {"input_ids": ids, "attention_mask": self._mask(shown, width)}
        return Batch(inputs, {"labels": labels}, indices, {"nats": int((labels >= 0).sum())})

    def _window(self, index: int, draw: int | None) -> bytes:
        document = self.documents[index]
        spare = len(document) - self.crop
        if draw is None or not self.crop or spare <= 0:
            return document
        start = int(np.random.default_rng([draw, index]).integers(spare + 1))
        return document[start : start + self.crop]

    @staticmethod
    def _mask(shown: Sequence[bytes], width: int) -> Tensor:
        return torch.tensor([[int(place < len(document)) for place in range(width)] for document in shown])

    def subset(self, indices: Indices) -> Self:
        """Return some documents."""
        return type(self)(tuple(self.documents[index] for index in indices.tolist()), self.crop)

    def followed_by(self, others: Sequence[Self]) -> Self:
        """Return these and others."""
        return type(self)(sum((other.documents for other in others), self.documents), self.crop)

    def tensors(self) -> dict[str, Tensor]:
        """Return bytes and lengths."""
        joined = torch.tensor([*b"".join(self.documents)], dtype=torch.uint8)
        return {"bytes": joined, "lengths": torch.from_numpy(self.costs)}


class TokenSettings(ProblemSettings):
    """Of `TokenProblem`."""

    part = "token_problem:TokenProblem"
    classifies: ClassVar[bool] = False

    kind: Literal["token_problem:TokenSettings"] = "token_problem:TokenSettings"
    crop: int = Field(default=0, ge=0)
    """Bytes of the random window that is trained on; 0 takes whole documents."""


class TokenProblem(Problem):
    """L = −Σ log p(byte | bytes before), divided by the bytes that are predicted."""

    score = SCORES["nats_per_byte"]
    record = TokenLikelihoods
    classifies: ClassVar[bool] = False

    def __init__(self, crop: int = 0) -> None:
        self.crop = crop

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> Backbone:
        """Load a GPT-2."""
        network = GPT2LMHeadModel.from_pretrained(config.id).eval().requires_grad_(False)
        return Backbone(network, 0, hash_tensors(network.state_dict().items()), config.id)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem."""
        assert isinstance(settings, TokenSettings)
        return cls(settings.crop)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse anything but documents."""
        for task in stream.tasks:
            if not isinstance(task.train, Documents):
                raise DataError(f"task '{task.name}' has no documents")

    def encode(self, split: Split, first_row: int = 0) -> EncodedDocuments:
        """Return the documents."""
        found = split.read(np.arange(len(split)))
        assert all(isinstance(document, bytes) for document in found)
        return EncodedDocuments(tuple(found), self.crop, split.fingerprint())  # type: ignore[arg-type]

    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedDocuments:
        """Return documents that were kept."""
        if tensors.keys() != {"bytes", "lengths"}:
            raise RunError(f"documents are 'bytes' and 'lengths', and {', '.join(tensors)} was stored")
        ends = np.cumsum(tensors["lengths"].numpy()).tolist()
        whole = bytes(tensors["bytes"].tolist())
        return EncodedDocuments(tuple(whole[a:b] for a, b in zip([0, *ends], ends, strict=False)), self.crop)

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> None:  # noqa: ANN401
        """Return none: the network answers by itself."""

    def outputs(self, found: Any, scores: Tensor | None) -> dict[str, Tensor]:  # noqa: ANN401
        """Return `logits` `[B, T, 257]`."""
        return {"logits": found.logits}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the nats of all bytes that are predicted."""
        return {"nats": self._nats(outputs, batch).sum()}

    @staticmethod
    def _nats(outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        logits = outputs["logits"].float().transpose(1, 2)
        return F.cross_entropy(logits, batch.targets["labels"], ignore_index=-100, reduction="none")

    def measure(
        self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.generic]]:
        """Return nats, tokens and bytes of each document."""
        counts = (batch.targets["labels"] >= 0).sum(1).cpu().numpy()
        return {"nll": self._nats(outputs, batch).double().sum(1).cpu().numpy(), "tokens": counts, "bytes": counts}

    def measurements(
        self,
        task: NDArray[np.str_],
        example: NDArray[np.int32],
        columns: dict[str, NDArray[np.generic]],
        names: tuple[str, ...],
    ) -> TokenLikelihoods:
        """Return the record."""
        return TokenLikelihoods(task, example, **columns)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of the settings."""
        return hashlib.sha256(f"bytes {self.crop}".encode()).hexdigest()
