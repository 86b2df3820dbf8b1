"""A linear classifier that grows: a block of rows per task."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.heads.stepped import SteppedHead


class LinearHead(SteppedHead):
    """z = W f + b, new rows W ~ N(0, 0.02²), b = 0."""

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (rows, self.features), "bias": (rows,)}

    def _new(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        weight = torch.randn(rows, self.features, generator=generator) * 0.02
        return {"weight": weight, "bias": torch.zeros(rows)}

    def _scores(self, features: Tensor, block: Mapping[str, Tensor]) -> Tensor:
        return F.linear(features, block["weight"], block["bias"])
