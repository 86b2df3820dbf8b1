"""What a task's inputs and labels look like: how they are encoded, batched, turned into features, and scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from plora.streams.base import Split


class EncodedInputs(ABC):
    """The inputs of one split, ready to be batched.

    Attributes:
        lengths: `[N]` int64, the cost of each example in tokens.
    """

    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    @abstractmethod
    def truncated(self) -> int:
        """How many inputs did not fit and lost their end."""

    @abstractmethod
    def followed_by(self, others: Sequence[Self]) -> Self:
        """Return these inputs and the others, one after the other."""

    @abstractmethod
    def subset(self, indices: NDArray[np.int64]) -> Self:
        """Return some of the inputs, in the order of `indices`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the inputs as tensors, from which `Problem.restored` makes them again."""

    @abstractmethod
    def collate(self, indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """Return the padded inputs of one batch, by the backbone's argument names."""


@dataclass(frozen=True)
class EncodedSplit:
    """One split ready to be batched.

    Args:
        inputs: N encoded inputs.
        rows: `[N]` their rows in the head.
        fingerprint: sha256 of the split's content.
    """

    inputs: EncodedInputs
    rows: NDArray[np.int64]
    fingerprint: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def first_batch(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each tensor of the first eight inputs: what preprocessing makes."""
        tensors = self.inputs.collate(np.arange(min(8, len(self))))
        return {name: [float(t.double().mean()), float(t.double().std())] for name, t in tensors.items()}


class Problem(ABC):
    """One kind of task. A new problem is one file in this folder and one line in its `__init__`."""

    score_name: str

    @abstractmethod
    def encode(self, split: Split) -> EncodedInputs:
        """Encode every input of a split; a second call for the same split reads a cache."""

    @abstractmethod
    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedInputs:
        """Return inputs that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """

    @abstractmethod
    def features(self, states: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Turn the backbone's last hidden states `[B, T, d]` into features `[B, d]`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the sha256 of everything that decides how an input is encoded."""


def masked_cross_entropy(logits: Tensor, rows: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy over the visible rows alone: −log softmax(z | visible)_y, one value per example.

    Args:
        logits: `[B, rows]`.
        rows: `[B]` the true row, which must be visible.
        visible: `[B, rows]` bool, the rows that compete for each example.

    Returns:
        `[B]`.
    """
    return F.cross_entropy(logits.float().masked_fill(~visible, float("-inf")), rows, reduction="none")
