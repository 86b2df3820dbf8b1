"""Per-task copies of a named submodule: what a low-rank sum cannot say, such as norms, heads or a whole block."""

import copy
from contextlib import nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn

from plora.adapters.linear import at_least_fp32
from plora.adapters.module_place import ModulePlace, still
from plora.adapters.place import Can
from plora.adapters.route import Route
from plora.adapters.stand_in import StandIn
from plora.adapters.switch import Switch
from plora.errors import AdapterError

_ALONE = "each slot is a whole module of its own, and one of them runs; use a gate that chooses one slot"


class ModuleSlot(StandIn, ModulePlace):
    """A submodule of which every slot owns a copy: the one on the route runs, without a slot the pristine one.

    A slot starts from the pretrained values. Statistics of BatchNorm layers inside the open copy move with every
    forward pass in train mode, but not when `checkpoint_blocks` computes a block again; in a run a step of several
    passes moves them once (`plora.training.statistics`). They are saved with the slot. The pristine module and
    committed copies are in eval mode whatever `train()` is called with. Parameters that the module shares with others
    (an embedding tied to an output layer) are the slot's own.

    Args:
        base: the submodule.
        switch: holds the route in force.
        path, index, site: see `Place`.

    Raises:
        AdapterError: its parameters are not floating-point numbers.
    """

    kind: ClassVar[str] = "module slot"
    can: ClassVar[Can] = Can(
        additive=False,
        per_sample=False,
        soft=False,
        reasons={"additive": _ALONE, "per_sample": _ALONE, "soft": _ALONE},
    )

    def __init__(self, base: nn.Module, switch: Switch, path: str, index: int, site: int) -> None:
        super().__init__(path, index, site)
        if integer := [name for name, p in base.named_parameters() if not p.is_floating_point()]:
            raise AdapterError(f"'{path}.{integer[0]}' holds integers, which cannot train; leave the module out")
        self.base, self.switch = base, switch
        self.train(base.training)

    def blank(self) -> nn.Module:
        """Return a copy of the pristine module, in at least fp32, all of it to be trained."""
        module = copy.deepcopy(self.base)
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(at_least_fp32(tensor))
        return module.requires_grad_()

    def fresh(self) -> nn.Module:
        """Return what a slot starts from: the pretrained values."""
        return self.blank()

    def description(self) -> str:
        """Return the class of the module."""
        return type(self.base).__name__

    def train(self, mode: bool = True) -> "ModuleSlot":
        """Switch the open copy alone."""
        super().train(mode)
        self.base.eval()
        return self

    def chosen(self, route: Route) -> str | None:
        """Return the slot whose copy runs under a route; None for the pristine module.

        Raises:
            AdapterError: the route wants several at once, shares of them, or another one for each sample.
        """
        if reason := self.refusal(route):
            raise AdapterError(f"{self} cannot do this route: {reason}")
        c = route.coefficients_of(self.index, self.site)
        if c is None:
            return route.slots[0] if route.slots else None
        return next((name for name, one in zip(route.slots, c.tolist(), strict=True) if one), None)

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the copy of the slot on the switch's route."""
        name = self.chosen(self.switch.of_this_call())
        if name is None:
            return self.base(*args, **kwargs)
        module = self.module(name)
        with still(module) if self.switch.recomputes else nullcontext():
            if self.held_in is None or torch.is_autocast_enabled(self.held_in[0]):
                return module(*args, **kwargs)
            args = tuple(_as_type(value, torch.float32) for value in args)
            kwargs = {key: _as_type(value, torch.float32) for key, value in kwargs.items()}
            return _as_type(module(*args, **kwargs), self.held_in[1])

    @property
    def held_in(self) -> tuple[str, torch.dtype] | None:
        """Device and type of a base in half precision, whose slots are fp32; None where both are of one type."""
        held = next((p for p in self.base.parameters() if at_least_fp32(p) != p.dtype), None)
        return None if held is None else (held.device.type, held.dtype)


def _as_type(value: object, dtype: torch.dtype) -> object:
    """A floating-point tensor, or each one in a tuple, in another type."""
    if isinstance(value, tuple):
        return tuple(_as_type(inner, dtype) for inner in value)
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
