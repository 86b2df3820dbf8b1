"""The route in force in one network, and blocks that compute their activations a second time under it.

A `Switch` is shared by all places of one network. Nothing is thread-local: activation checkpointing replays a block
later, perhaps after another forward pass changed the route, so `checkpoint_blocks` captures the route together with the
block's inputs, and for whatever else checkpoints there is a `History`.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache

from plora.adapters.history import History
from plora.adapters.route import Route
from plora.errors import AdapterError


class Switch:
    """The route in force, shared by all places of one network."""

    def __init__(self) -> None:
        self.keeps_activations = False
        self._history = History()
        self._put(Route(), -1)

    @property
    def route(self) -> Route:
        """The route in force."""
        return self._route

    @route.setter
    def route(self, route: Route) -> None:
        self._put(route, torch._C._current_graph_task_id())

    @property
    def recomputes(self) -> bool:
        """A block is computed a second time, for backward: what moves in a forward pass has moved already."""
        return torch._C._current_graph_task_id() != -1

    def of_this_call(self) -> Route:
        """Return the route of the call that a place computes: when it computes for backward, that of the forward pass.

        Raises:
            AdapterError: that pass is too long ago.
        """
        node = torch._C._current_autograd_node()
        if node is None or self._put_by == torch._C._current_graph_task_id():  # put in force for this computation
            route = self._route
        else:
            route = self._history.at(node._sequence_nr())
        self._history.called(route)
        return route

    @contextmanager
    def keeping_activations(self) -> Iterator[None]:
        """Inside the `with` block, blocks that drop their activations keep them: what is captured is computed once."""
        former, self.keeps_activations = self.keeps_activations, True
        try:
            yield
        finally:
            self.keeps_activations = former

    @contextmanager
    def using(self, route: Route) -> Iterator[None]:
        """Put `route` in force inside the `with` block, then restore the former one."""
        former, put_by = self._route, self._put_by
        self.route = route
        try:
            yield
        finally:
            self._put(former, put_by)

    def _put(self, route: Route, by: int) -> None:
        """Put a route in force; `by` is the backward pass that does so, or -1."""
        self._route, self._put_by = route, by
        self._history.put(route)


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
    route = switch.of_this_call()
    forward: Callable[..., Tensor] = type(block).forward
    if switch.keeps_activations or not torch.is_grad_enabled():
        return forward(block, *args, **kwargs)
    args = tuple(_without_cache(value) for value in args)
    kwargs = {name: _without_cache(value) for name, value in kwargs.items()}

    def under_route(*inner: Tensor) -> Tensor:
        with switch.using(route):
            return forward(block, *inner, **kwargs)

    output: Tensor = checkpoint(under_route, *args, use_reentrant=False)
    return output


def _without_cache(value: object) -> object:
    if not isinstance(value, Cache):
        return value
    if value.get_seq_length():
        raise AdapterError("activation checkpointing cannot continue from a filled key-value cache; pass none")
    return None
