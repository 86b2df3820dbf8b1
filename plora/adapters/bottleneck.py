"""Residual adapters: a narrow path beside the network's own, added to what a block returns.

Shapes: d features (channels of a map), w width of the path, B batch, T tokens, H × W positions.

    residual   y + Σ_k c_k (U_k act(D_k norm_k(y) + b_k) + b'_k)           at every token, or position of a map
    pooled     y + Σ_k c_k (U_k act(D_k GAP(norm_k(y)) + b_k) + b'_k)      once per map, added to every position

D `[w, d]` is drawn, U `[d, w]`, b and b' start at 0: a new slot does not change a bit (`init: identity`). On maps the
products are 1 × 1 convolutions.

The pooled form adds one vector to every position of a map: it moves channels and cannot tell positions apart. After the
last stage, whose map is only averaged, it is a bottleneck in front of the head.

Sources: Houlsby et al. 2019 (arXiv 1902.00751), who draw both matrices near 0 (`init: near_zero`) and put the adapter
inside the block, after attention and after the MLP, before their residual sums (`after: sublayer`); Rebuffi et al. 2017
(arXiv 1705.08045), whose path has no bottleneck (`pointwise.py`). With U = 0 the start is exact, and gradients reach U
at once.
"""

import json
import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters.branch_place import BranchPlace
from plora.adapters.place import Can
from plora.adapters.settings import Bottleneck

_NEAR_ZERO = 1e-3


class Branch(nn.Module):
    """The path of one slot: U act(D dropout(norm(y)) + b) + b'.

    Args:
        features: d.
        settings: width, activation, form, norm and dropout.
        maps: y is `[B, d, H, W]`, not `[…, d]`.
    """

    def __init__(self, features: int, settings: Bottleneck, maps: bool) -> None:
        super().__init__()
        self.settings, self.maps = settings, maps
        self.D = nn.Parameter(torch.zeros(settings.width, features))
        self.D_bias = nn.Parameter(torch.zeros(settings.width))
        self.U = nn.Parameter(torch.zeros(features, settings.width))
        self.U_bias = nn.Parameter(torch.zeros(features))
        norms: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm = norms[settings.norm](features) if settings.norm in norms else None

    def forward(self, y: Tensor) -> Tensor:
        """Return the slot's share: as y, or `[B, d, 1, 1]` where it is pooled."""
        y = self._normalized(y)
        pooled = self.settings.form == "pooled"
        if pooled:
            y = y.mean((-2, -1))  # a vector: a product costs a quarter of a convolution of one position
        y = F.dropout(y, self.settings.dropout, self.training)
        product = F.linear if pooled or not self.maps else _at_each_position
        h = product(y, self.D, self.D_bias)
        h = F.relu(h) if self.settings.activation == "relu" else F.gelu(h)
        found = product(h, self.U, self.U_bias)
        return found[..., None, None] if pooled else found

    def _normalized(self, y: Tensor) -> Tensor:
        if self.norm is None:
            return y
        if self.settings.norm == "layer":
            moved: Tensor = self.norm(y.movedim(1, -1)).movedim(-1, 1) if self.maps else self.norm(y)
            return moved
        flat = y.flatten(2) if self.maps else y.flatten(0, -2)  # [B, d, H W] or [B T, d]
        normalized: Tensor = self.norm(flat)
        return normalized.view_as(y)


def _at_each_position(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return W y + b at each position of maps `[B, d, H, W]`."""
    return F.conv2d(y, weight[:, :, None, None], bias)


class BottleneckPlace(BranchPlace):
    """All slots after one block.

    Args:
        features, maps: of what the block returns, see `BranchPlace`.
        settings: of every slot.
        path, index, site: see `Place`.
    """

    kind: ClassVar[str] = "bottleneck"
    can: ClassVar[Can] = Can(
        foldable=False,
        export=False,
        reasons={
            "foldable": "its activation stands between the two matrices, so no weight of the network can take it in",
            "export": "PEFT has no residual adapters; save the slots with save_slot, which plora reads",
        },
    )

    def __init__(self, features: int, maps: bool, settings: Bottleneck, path: str, index: int, site: int) -> None:
        super().__init__(features, maps, path, index, site)
        self.settings = settings

    def blank(self) -> Branch:
        """Return a path of zeros."""
        return Branch(self.features, self.settings, self.maps).to(self.where.device, self.where.dtype)

    def fresh(self) -> Branch:
        """Return a path with D ~ U(±1/√d), or near 0 as the settings say; drawn on the CPU: a seed draws the same for
        any device."""
        D = torch.empty(self.settings.width, self.features, dtype=self.where.dtype)
        branch = self.blank()
        if self.settings.init == "identity":
            nn.init.kaiming_uniform_(D, a=math.sqrt(5))
        else:
            nn.init.normal_(D, std=_NEAR_ZERO)
            U = nn.init.normal_(torch.empty_like(D.T), std=_NEAR_ZERO)
            branch.U = nn.Parameter(U.to(self.where.device))
        branch.D = nn.Parameter(D.to(self.where.device))
        return branch

    def description(self) -> str:
        """Return the settings that give the tensors their meaning."""
        where_and_how = {"after", "stages", "init", "dropout"}
        return json.dumps(self.settings.model_dump(exclude=where_and_how), sort_keys=True)
