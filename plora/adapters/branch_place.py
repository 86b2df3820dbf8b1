"""A place whose slots are small networks of their own that add to what a module of the network returns."""

import math
from abc import ABC
from contextlib import nullcontext

import torch
from torch import Tensor

from plora.adapters.module_place import ModulePlace, still
from plora.adapters.route import Route
from plora.errors import AdapterError


class BranchPlace(ModulePlace, ABC):
    """y + Σ_k c_k share_k(x), y what a module of the network returns, x the same or what it gets.

    Args:
        features: d of what the module returns.
        maps: it returns maps `[B, d, H, W]`, not states `[…, d]`.
        path, index, site: see `Place`.

    Attributes:
        reads_input: x is what the module gets, not what it returns.
    """

    reads_input: bool = False
    where: Tensor

    def __init__(self, features: int, maps: bool, path: str, index: int, site: int) -> None:
        super().__init__(path, index, site)
        self.features, self.maps = features, maps
        self.register_buffer("where", torch.empty(0), persistent=False)  # device and type of new slots

    def forward(self, x: Tensor, y: Tensor, route: Route, again: bool = False) -> Tensor:
        """Add the slots of `route` to what the module returned.

        Args:
            x: what the slots read.
            y: `[…, d]` or `[B, d, H, W]`, what the module returned.
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
