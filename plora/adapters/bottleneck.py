"""Residual adapters: a narrow path beside the network's own, added to what a block returns.

Shapes: d features (channels of a map), w width of the path, B batch, T tokens, H × W positions.

    residual   y + Σ_k c_k (U_k act(D_k norm_k(y) + b_k) + b'_k)           at every token, or position of a map
    pooled     y + Σ_k c_k (U_k act(D_k GAP(norm_k(y)) + b_k) + b'_k)      once per map, added to every position

D `[w, d]` is drawn, U `[d, w]`, b and b' start at 0: a new slot does not change a bit. On maps the products are 1 × 1
convolutions.

Sources: Houlsby et al. 2019 (arXiv 1902.00751), who draw both matrices near 0 and put the adapter inside the block,
before its residual sum; Rebuffi et al. 2017 (arXiv 1705.08045), whose path has no bottleneck. Here it stands after the
block, and U = 0, so that the start is exact and gradients reach U at once.
"""

import json
import math
from contextlib import nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plora.adapters.module_place import ModulePlace, still
from plora.adapters.place import Can
from plora.adapters.route import Route
from plora.adapters.settings import Bottleneck
from plora.errors import AdapterError


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
        if self.settings.form == "pooled":
            y = y.mean((-2, -1), keepdim=True)
        y = F.dropout(y, self.settings.dropout, self.training)
        h = self._product(y, self.D, self.D_bias)
        h = F.relu(h) if self.settings.activation == "relu" else F.gelu(h)
        return self._product(h, self.U, self.U_bias)

    def _normalized(self, y: Tensor) -> Tensor:
        if self.norm is None:
            return y
        if self.settings.norm == "layer":
            moved: Tensor = self.norm(y.movedim(1, -1)).movedim(-1, 1) if self.maps else self.norm(y)
            return moved
        flat = y.flatten(2) if self.maps else y.flatten(0, -2)  # [B, d, H W] or [B T, d]
        normalized: Tensor = self.norm(flat)
        return normalized.view_as(y)

    def _product(self, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(y, weight[:, :, None, None], bias) if self.maps else F.linear(y, weight, bias)


class BottleneckPlace(ModulePlace):
    """All slots after one block.

    Args:
        features: d of what the block returns.
        maps: it returns maps `[B, d, H, W]`, not states `[…, d]`.
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
    where: Tensor

    def __init__(self, features: int, maps: bool, settings: Bottleneck, path: str, index: int, site: int) -> None:
        super().__init__(path, index, site)
        self.features, self.maps, self.settings = features, maps, settings
        self.register_buffer("where", torch.empty(0), persistent=False)  # device and type of new slots

    def blank(self) -> Branch:
        """Return a path of zeros."""
        return Branch(self.features, self.settings, self.maps).to(self.where.device, self.where.dtype)

    def fresh(self) -> Branch:
        """Return a path with D ~ U(±1/√d), drawn on the CPU: a seed draws the same for any device."""
        D = torch.empty(self.settings.width, self.features, dtype=self.where.dtype)
        nn.init.kaiming_uniform_(D, a=math.sqrt(5))
        branch = self.blank()
        branch.D = nn.Parameter(D.to(self.where.device))
        return branch

    def description(self) -> str:
        """Return the settings that give the tensors their meaning."""
        return json.dumps(self.settings.model_dump(exclude={"after", "dropout"}), sort_keys=True)

    def forward(self, y: Tensor, route: Route, again: bool = False) -> Tensor:
        """Add the slots of `route` to what the block returned.

        Args:
            y: `[…, d]` or `[B, d, H, W]`.
            route: slots and coefficients.
            again: this is a second forward pass, for backward; statistics have moved already.

        Returns:
            As y.
        """
        if reason := self.refusal(route):
            raise AdapterError(f"{self} cannot do this route: {reason}")
        fits = y.dim() == 4 and y.shape[1] == self.features if self.maps else y.shape[-1] == self.features
        if not fits:
            expected = f"maps [B, {self.features}, H, W]" if self.maps else f"states […, {self.features}]"
            raise AdapterError(f"{self} stands where {expected} were expected, got {list(y.shape)}; name other modules")
        x = y
        if x.dtype != self.where.dtype and not torch.is_autocast_enabled(x.device.type):
            x = x.to(self.where.dtype)  # a network held in half precision: its slots stay fp32
        coefficients = self._coefficients(route, y)
        for k, name in enumerate(route.slots):
            branch = self.module(name)
            with still(branch) if again else nullcontext():
                share = branch(x)
            y = y + (share if coefficients is None else coefficients[k] * share).to(y.dtype)
        return y

    def _coefficients(self, route: Route, y: Tensor) -> Tensor | None:
        """Coefficients of the route's slots, slots first, shaped to multiply y; None when all are 1."""
        c = route.coefficients_of(self.index, self.site)
        if c is None:
            return None
        c = c.movedim(-1, 0)  # [S], [S, B] or [S, B, T]
        if route.per not in ("sample", "token"):
            return c
        positions = y.shape[2:] if self.maps else y.shape[1:-1]
        found = [len(y)] if route.per == "sample" else [len(y), math.prod(positions)]
        if list(c.shape[1:]) != found:
            raise AdapterError(
                f"coefficients per {route.per} are for {list(c.shape[1:])}, but the input of {self} is {list(y.shape)}"
            )
        ones = [1] * len(positions)
        shape = [*c.shape[:2], *(ones if route.per == "sample" else positions)]
        return c.reshape(shape).unsqueeze(2 if self.maps else -1)
