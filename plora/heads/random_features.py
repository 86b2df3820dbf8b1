"""A random matrix that is drawn once and never trained, for heads that look at random features."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plora.errors import RunError
from plora.heads.gram import GramHead

RANDOM_FEATURES = 2000
"""How many of them."""
_PROJECTION = "projection:matrix"


class RandomFeaturesHead(GramHead):
    """A head whose φ is made with a random matrix P ~ N(0, 1), drawn once.

    Attributes:
        projection: P `[m, d]`, fp32.
    """

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns, directions = self._sizes(RANDOM_FEATURES)
        self.projection = torch.randn(directions, features, generator=torch.Generator().manual_seed(0))

    def tensors(self) -> dict[str, Tensor]:
        """Return `<group>:<name>` for each tensor of each group, and the projection."""
        return {**super().tensors(), _PROJECTION: self.projection}

    def restore(self, blocks: Mapping[str, int], tensors: Mapping[str, Tensor]) -> None:
        """Restore the projection, sums and weights."""
        stored = tensors.get(_PROJECTION)
        if tensors:
            shape, wanted = None if stored is None else tuple(stored.shape), tuple(self.projection.shape)
            if stored is None or shape != wanted:
                raise RunError(f"the stored head's tensor '{_PROJECTION}' is {shape}, expected {wanted}")
            self.projection = stored
        super().restore(blocks, {name: tensor for name, tensor in tensors.items() if name != _PROJECTION})

    def _sizes(self, number: int) -> tuple[int, int]:
        """k and m, for so many random features."""
        return number, number
