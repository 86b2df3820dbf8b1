"""Which slots take part in one forward pass, and how much: computed once, read by every place.

A `Switch` is shared by all places of one network and holds the route in force. Nothing is thread-local:
activation checkpointing replays a block later, perhaps after another forward pass changed the route, so
`checkpoint_blocks` captures the route together with the block's inputs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from types import MethodType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache

from plora.errors import AdapterError

CoefficientsPer = Literal["slot", "layer", "site", "sample", "token"]

_DIMENSIONS: dict[CoefficientsPer, tuple[int, str]] = {
    "slot": (1, "[slots]"),
    "layer": (2, "[layers, slots]"),
    "site": (2, "[sites, slots]"),
    "sample": (2, "[batch, slots]"),
    "token": (3, "[batch, tokens, slots]"),
}


@dataclass(frozen=True)
class Route:
    """The slots of one forward pass and their coefficients.

    Slots that are not named cost nothing: a bank slices the rows of those that are.

    Args:
        slots: S names; each at most once.
        coefficients: how much each slot contributes, last dimension S, in the order of `slots`; None means 1.
        per: what the leading dimensions are: `slot` `[S]`, `layer` `[L, S]`, `site` `[P, S]` (every place by itself,
            as q, k and v of a fused projection), `sample` `[B, S]`, `token` `[B, T, S]`; the tokens of a map
            `[B, C, H, W]` are its T = H · W positions, row by row.
        mixing: for each layer (by its path) a matrix `[N, N]` over the N = Σ rank rows of `slots`, in their
            order; row i says what enters output direction i. The diagonal is a gate per rank, the rest lateral
            connections (methods §6).
        folded: the committed slots are inside the effective weight that `Adapters.fold` made; only the open
            slot is added to it.

    Raises:
        AdapterError: a slot is named twice, the coefficients' shape is not what `per` says, or a folded route mixes.
    """

    slots: tuple[str, ...] = ()
    coefficients: Tensor | None = None
    per: CoefficientsPer = "slot"
    mixing: Mapping[str, Tensor] = field(default_factory=dict)
    folded: bool = False

    def __post_init__(self) -> None:
        if len(set(self.slots)) != len(self.slots):
            raise AdapterError(f"a route names a slot twice: {list(self.slots)}")
        if self.folded and self.mixing:
            raise AdapterError("a mixing matrix reads every slot by itself, so its route cannot be folded")
        if self.coefficients is not None:
            dimensions, shape = _DIMENSIONS[self.per]
            if self.coefficients.dim() != dimensions or self.coefficients.shape[-1] != len(self.slots):
                raise AdapterError(
                    f"coefficients per {self.per} must be {shape} with {len(self.slots)} slots, "
                    f"got {list(self.coefficients.shape)}"
                )

    def coefficients_of(self, index: int, site: int) -> Tensor | None:
        """Return what of the coefficients is for one place; None when all are 1.

        Args:
            index: position of its layer among all adapted layers.
            site: its position among all places.
        """
        if self.coefficients is None or self.per not in ("layer", "site"):
            return self.coefficients
        return self.coefficients[index if self.per == "layer" else site]


class Switch:
    """The route in force, shared by all places of one network."""

    def __init__(self) -> None:
        self.route = Route()
        self.keeps_activations = False
        self.recomputes = False
        """A block is computed a second time, for backward: what moves in a forward pass has moved already."""

    @contextmanager
    def keeping_activations(self) -> Iterator[None]:
        """Inside the `with` block, blocks that drop their activations keep them: what is captured is computed once."""
        former, self.keeps_activations = self.keeps_activations, True
        try:
            yield
        finally:
            self.keeps_activations = former

    @contextmanager
    def recomputing(self, again: bool) -> Iterator[None]:
        """Say inside the `with` block whether it is computed for a second time."""
        former, self.recomputes = self.recomputes, again
        try:
            yield
        finally:
            self.recomputes = former

    @contextmanager
    def using(self, route: Route) -> Iterator[None]:
        """Put `route` in force inside the `with` block, then restore the former one."""
        former, self.route = self.route, route
        try:
            yield
        finally:
            self.route = former


def checkpoint_blocks(blocks: Iterable[nn.Module], switch: Switch) -> None:
    """Make each block drop its activations and recompute them during backward, under the same route.

    `transformers` skips its own activation checkpointing when the model is in eval mode, which is where a
    frozen backbone lives; so the blocks are wrapped here. Memory falls to one block's activations, time rises
    by about one forward pass. Decoders keep no key-value cache while gradients are recorded: a recomputed block
    would write to it a second time.

    Args:
        blocks: the repeated blocks of a network; changed in place.
        switch: the switch that the places inside the blocks read.
    """
    for block in blocks:
        # A bound method and an attribute, not a closure: deepcopy rebinds both to the copied block and switch.
        setattr(block, "route_switch", switch)  # noqa: B010  (plain attributes, to the type checker)
        setattr(block, "forward", MethodType(_checkpointed, block))  # noqa: B010


def _checkpointed(block: nn.Module, *args: object, **kwargs: object) -> Tensor:
    switch = block.route_switch
    assert isinstance(switch, Switch)
    route = switch.route
    forward: Callable[..., Tensor] = type(block).forward
    if switch.keeps_activations or not torch.is_grad_enabled():
        return forward(block, *args, **kwargs)
    args = tuple(_without_cache(value) for value in args)
    kwargs = {name: _without_cache(value) for name, value in kwargs.items()}

    calls = count()

    def under_route(*inner: Tensor) -> Tensor:
        with switch.using(route), switch.recomputing(again=next(calls) > 0):
            return forward(block, *inner, **kwargs)

    output: Tensor = checkpoint(under_route, *args, use_reentrant=False)
    return output


def _without_cache(value: object) -> object:
    if not isinstance(value, Cache):
        return value
    if value.get_seq_length():
        raise AdapterError("activation checkpointing cannot continue from a filled key-value cache; pass none")
    return None
