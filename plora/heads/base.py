"""What turns features into one score per class."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn


class Head(nn.Module, ABC):
    """Blocks of rows, one per task; a block is opened, learned and committed like a slot.

    Args:
        features: d, length of a feature vector.
        pooled: whether all blocks compete for a prediction (class- and domain-incremental).

    Attributes:
        blocks: number of rows of each block, in the order in which they were first opened.
        device: where new rows are made.
        forgotten: blocks whose rows were taken out; they keep their place and score 0.
    """

    solved: ClassVar[bool] = False
    """Its rows are computed from features when training is over, and no step trains them: a `ClosedFormHead`."""

    def __init__(self, features: int, pooled: bool = False) -> None:
        super().__init__()
        self.features, self.pooled = features, pooled
        self.device = torch.device("cpu")
        self.blocks: dict[str, int] = {}
        self.forgotten: set[str] = set()

    @property
    def rows(self) -> int:
        """Number of rows of all blocks."""
        return sum(self.blocks.values())

    def slice_of(self, block: str) -> slice:
        """Return the rows of one block."""
        start = 0
        for name, rows in self.blocks.items():
            if name == block:
                return slice(start, start + rows)
            start += rows
        raise KeyError(block)

    @abstractmethod
    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add a block of `classes` rows, or take an existing one back into training."""

    @abstractmethod
    def commit(self) -> None:
        """Freeze all open rows."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Return scores `[N, rows]` of features `[N, d]`, blocks in their order."""

    def block_scores(self, features: Tensor, block: str) -> Tensor:
        """Return scores `[N, rows of the block]`, the same bits as in `forward`; a head may spare itself the others."""
        scores: Tensor = self(features)
        return scores[:, self.slice_of(block)]

    @abstractmethod
    def block_hash(self, block: str) -> str:
        """Return the sha256 of all that the scores of this block depend on."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor needed to restore the head, as `<part>:<name>`; parts are stored one by one."""

    @abstractmethod
    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore the blocks and what `tensors` returned, all committed; a block without tensors was forgotten.

        Raises:
            RunError: a tensor is missing or has another shape.
        """
