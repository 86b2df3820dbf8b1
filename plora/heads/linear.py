"""A linear classifier that grows: a block of rows per task."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.errors import RunError
from plora.fingerprint import hash_tensors
from plora.heads.base import Head


class LinearHead(Head):
    """z = W f + b, new rows W ~ N(0, 0.02²), b = 0.

    Open rows are parameters; committed rows are plain tensors that no optimizer, weight decay or momentum can move.
    """

    def __init__(self, features: int, pooled: bool = False) -> None:
        super().__init__(features, pooled)
        self._open = nn.ParameterDict()  # "weight:0", "bias:0", … by position of the block
        self._committed: dict[str, tuple[Tensor, Tensor]] = {}
        self._hashes: dict[str, str] = {}  # of committed blocks, which cannot change

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add `classes` rows drawn from `generator`, or take a committed block back into training.

        A block that is open already stays as it is.
        """
        if block in self.blocks and block not in self._committed:
            return
        if block in self._committed:
            weight, bias = (tensor.clone() for tensor in self._committed.pop(block))
            self._hashes.pop(block, None)
        else:
            weight = torch.randn(classes, self.features, generator=generator) * 0.02
            bias = torch.zeros(classes)
            self.blocks[block] = classes
        position = list(self.blocks).index(block)
        self._open[f"weight:{position}"] = nn.Parameter(weight.to(self.device))
        self._open[f"bias:{position}"] = nn.Parameter(bias.to(self.device))

    def commit(self) -> None:
        """Freeze all open rows."""
        for position, block in enumerate(self.blocks):
            if block not in self._committed:
                weight, bias = self._rows(position, block)
                self._committed[block] = (weight.detach().clone(), bias.detach().clone())
        self._open.clear()

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `[N, rows]`.

        Block by block: the bits of one product of all rows would depend on how many other rows there are, and an old
        task's probabilities would change in their last bit whenever a task is added.
        """
        rows = [self._rows(position, block) for position, block in enumerate(self.blocks)]
        return torch.cat([F.linear(features, weight, bias) for weight, bias in rows], dim=-1)

    def block_scores(self, features: Tensor, block: str) -> Tensor:
        """Return logits `[N, rows of the block]`; no other block is computed."""
        return F.linear(features, *self._rows(list(self.blocks).index(block), block))

    def block_hash(self, block: str) -> str:
        """Return the sha256 of the block's weight and bias; that of a committed block is computed once."""
        if block not in self._hashes:
            weight, bias = self._rows(list(self.blocks).index(block), block)
            found = hash_tensors([("weight", weight), ("bias", bias)])
            if block not in self._committed:
                return found
            self._hashes[block] = found
        return self._hashes[block]

    def tensors(self) -> dict[str, Tensor]:
        """Return `<i>:weight` `[rows, d]` and `<i>:bias` `[rows]` of block i, unless it was forgotten."""
        state = {}
        for position, block in enumerate(self.blocks):
            if block not in self.forgotten:
                weight, bias = self._rows(position, block)
                state[f"{position}:weight"], state[f"{position}:bias"] = weight.detach(), bias.detach()
        return state

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore all blocks as committed."""
        self._open.clear()
        self.blocks, self._committed, self._hashes, self.forgotten = dict(blocks), {}, {}, set()
        stored = {key.partition(":")[0] for key in tensors}
        for position, (block, rows) in enumerate(blocks.items()):
            if str(position) not in stored:
                self._committed[block] = (
                    torch.zeros(rows, self.features, device=self.device),
                    torch.zeros(rows, device=self.device),
                )
                self.forgotten.add(block)
                continue
            weight, bias = tensors.get(f"{position}:weight"), tensors.get(f"{position}:bias")
            if weight is None or bias is None or weight.shape != (rows, self.features) or bias.shape != (rows,):
                raise RunError(f"the stored head does not hold {rows} rows of {self.features} features for '{block}'")
            self._committed[block] = (weight.to(self.device), bias.to(self.device))

    def _rows(self, position: int, block: str) -> tuple[Tensor, Tensor]:
        if block in self._committed:
            return self._committed[block]
        return self._open[f"weight:{position}"], self._open[f"bias:{position}"]
