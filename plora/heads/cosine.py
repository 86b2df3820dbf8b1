"""A classifier by angles that grows: lengths of features and of rows do not count."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.heads.stepped import SteppedHead

SCALE = 10.0
"""σ of a new block."""


class CosineHead(SteppedHead):
    """z_c = σ cos(f, w_c), new rows w ~ N(0, 0.02²); σ, one for the rows of a task, trains with them from 10 on.

    A new task's rows cannot win by being long, as they can in a linear head whose old rows stay as they are. σ stays 10
    where no phase trains it: `phases: [{train: [adapter, "head._open.weight"]}]`.

    Source: Hou et al. 2019 (LUCIR, CVPR), whose σ all classes share; here old rows keep theirs.
    """

    @staticmethod
    def linear_form(block: Mapping[str, Tensor]) -> Tensor:
        """Return W `[rows, d]` with which z = W f / ‖f‖.

        Args:
            block: its `weight` and `scale`.
        """
        return block["scale"] * F.normalize(block["weight"], dim=-1)

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {"weight": (rows, self.features), "scale": ()}

    def _new(self, rows: int, generator: torch.Generator) -> dict[str, Tensor]:
        weight = torch.randn(rows, self.features, generator=generator) * 0.02
        return {"weight": weight, "scale": torch.tensor(SCALE)}

    def _scores(self, features: Tensor, block: Mapping[str, Tensor]) -> Tensor:
        return F.linear(F.normalize(features.float(), dim=-1), self.linear_form(block))
