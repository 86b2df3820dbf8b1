"""A module that stands where another one was, and answers for it."""

from abc import ABC

from torch import Tensor, nn


class StandIn(nn.Module, ABC):
    """Has all attributes of its `base`, which networks read: `attention_type` of a block, `weight.dtype` of a layer."""

    base: nn.Module

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        """Return what torch does not find here from the base."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            base = self.__dict__.get("_modules", {}).get("base")  # a copy is asked before it has any
            if base is None:
                raise
            found: Tensor | nn.Module = getattr(base, name)
            return found


def pristine(module: nn.Module) -> nn.Module:
    """Return the network's own module, whatever stands in its place."""
    while isinstance(module, StandIn):
        module = module.base
    return module
