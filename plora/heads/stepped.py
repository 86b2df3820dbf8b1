"""Heads whose rows are trained step by step: a block of tensors per task, open or committed."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from plora.errors import RunError
from plora.fingerprint import hash_tensors
from plora.heads.base import Head


class SteppedHead(Head):
    """Scores block by block, each from features and a few named tensors of its own.

    Open tensors are parameters; committed ones are plain tensors that no optimizer, weight decay or momentum can move.
    """

    def __init__(self, features: int, pooled: bool = False) -> None:
        super().__init__(features, pooled)
        self._open = nn.ParameterDict()  # "weight:0", … by position of the block
        self._committed: dict[str, dict[str, Tensor]] = {}
        self._hashes: dict[str, str] = {}  # of committed blocks, which cannot change

    @abstractmethod
    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor of a block."""

    @abstractmethod
    def _new(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Tensors of a block that nothing was learned of."""

    @abstractmethod
    def _scores(self, features: Tensor, block: Mapping[str, Tensor]) -> Tensor:
        """Scores `[N, rows]` of one block."""

    def open(self, block: str, classes: int, generator: torch.Generator) -> None:
        """Add `classes` rows drawn from `generator`, or take a committed block back into training.

        A block that is open already stays as it is.
        """
        if block in self.blocks and block not in self._committed:
            return
        if block in self._committed:
            tensors = {name: tensor.clone() for name, tensor in self._committed.pop(block).items()}
            self._hashes.pop(block, None)
        else:
            tensors = self._new(classes, generator)
            self.blocks[block] = classes
        position = list(self.blocks).index(block)
        for name, tensor in tensors.items():
            self._open[f"{name}:{position}"] = nn.Parameter(tensor.to(self.device))

    def commit(self) -> None:
        """Freeze all open rows."""
        for position, block in enumerate(self.blocks):
            if block not in self._committed:
                tensors = self._block(position, block)
                self._committed[block] = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self._open.clear()

    def forward(self, features: Tensor) -> Tensor:
        """Return scores `[N, rows]`.

        Block by block: the bits of one product of all rows would depend on how many other rows there are, and an old
        task's probabilities would change in their last bit whenever a task is added.
        """
        blocks = [self._block(position, block) for position, block in enumerate(self.blocks)]
        return torch.cat([self._scores(features, tensors) for tensors in blocks], dim=-1)

    def block_scores(self, features: Tensor, block: str) -> Tensor:
        """Return scores `[N, rows of the block]`; no other block is computed."""
        return self._scores(features, self._block(list(self.blocks).index(block), block))

    def block_hash(self, block: str) -> str:
        """Return the sha256 of the block's tensors; that of a committed block is computed once."""
        if block not in self._hashes:
            found = hash_tensors([*self._block(list(self.blocks).index(block), block).items()])
            if block not in self._committed:
                return found
            self._hashes[block] = found
        return self._hashes[block]

    def tensors(self) -> dict[str, Tensor]:
        """Return `<i>:<name>` for each tensor of block i, unless it was forgotten."""
        return {
            f"{position}:{name}": tensor.detach()
            for position, block in enumerate(self.blocks)
            if block not in self.forgotten
            for name, tensor in self._block(position, block).items()
        }

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore all blocks as committed."""
        self._open.clear()
        self.blocks, self._committed, self._hashes, self.forgotten = dict(blocks), {}, {}, set()
        stored = {key.partition(":")[0] for key in tensors}
        for position, (block, rows) in enumerate(blocks.items()):
            shapes = self._shapes(rows)
            if str(position) not in stored:
                zeros = {name: torch.zeros(shape, device=self.device) for name, shape in shapes.items()}
                self._committed[block] = zeros
                self.forgotten.add(block)
                continue
            found = {name: tensors.get(f"{position}:{name}") for name in shapes}
            if any(tensor is None or tensor.shape != shapes[name] for name, tensor in found.items()):
                raise RunError(f"the stored head does not hold {rows} rows of {self.features} features for '{block}'")
            # In memory of their own: a product with one row sums in an order that follows from where the row begins,
            # and tensors of a file begin anywhere.
            self._committed[block] = {name: t.to(self.device, copy=True) for name, t in found.items() if t is not None}

    def _block(self, position: int, block: str) -> Mapping[str, Tensor]:
        if block in self._committed:
            return self._committed[block]
        return {name: self._open[f"{name}:{position}"] for name in self._shapes(self.blocks[block])}
