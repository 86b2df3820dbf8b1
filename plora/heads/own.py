"""No head beside the network: its own outputs are the answers."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from plora.errors import RunError
from plora.heads.base import Head


class OwnHead(Head):
    """Rows without numbers: what answers is a part of the network, and learns in slots or not at all."""

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add a block; nothing is drawn from `generator`."""
        self.blocks.setdefault(block, classes)

    def commit(self) -> None:
        """Do nothing: no row is ever open."""

    def forward(self, features: Tensor) -> Tensor:
        """Return no scores `[N, 0]`."""
        return features.new_zeros(len(features), 0)

    def block_hash(self, block: str) -> str:
        """Return the sha256 of nothing."""
        return hashlib.sha256().hexdigest()

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore the blocks."""
        if tensors:
            raise RunError(f"the network answers by itself, and {', '.join(tensors)} was stored for a head")
        self.blocks = dict(blocks)
