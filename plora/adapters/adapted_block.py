"""A block or layer of the network with slots after it, or beside it."""

import copy
from collections.abc import Callable

from torch import Tensor, nn
from transformers.utils import ModelOutput

from plora.adapters.branch_place import BranchPlace
from plora.adapters.stand_in import StandIn
from plora.adapters.switch import Switch
from plora.errors import AdapterError


class AdaptedBlock(StandIn):
    """What the block returns, with the slots' share added to its states.

    Args:
        base: returns states, or a tuple or ModelOutput that begins with them.
        place: the slots after it; those that read what it gets are called with its first argument.
        switch: holds the route in force.
    """

    def __init__(self, base: nn.Module, place: BranchPlace, switch: Switch) -> None:
        super().__init__()
        self.base, self.place, self.switch = base, place, switch
        self.train(base.training)  # a network in eval mode gets no dropout

    def forward(self, *args: object, **kwargs: object) -> object:
        """Run the block, and add what the slots of the switch's route make of its states."""
        output: object = self.base(*args, **kwargs)
        route = self.switch.of_this_call()
        if not route.slots:
            return output

        def adapted(states: Tensor) -> Tensor:
            x = args[0] if self.place.reads_input else states
            result: Tensor = self.place(x, states, route, self.switch.recomputes)
            return result

        return _with_states(output, adapted, self.place)


def _with_states(output: object, change: Callable[[Tensor], Tensor], place: BranchPlace) -> object:
    """What a block returns, with its states changed."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, ModelOutput):
        name, states = next(iter(output.items()), ("", None))
        if isinstance(states, Tensor):
            changed = copy.copy(output)
            changed[name] = change(states)
            return changed
    elif isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return (change(output[0]), *output[1:])
    raise AdapterError(
        f"{place} stands after a module that returns {type(output).__name__}; it needs a tensor, or a tuple or "
        "ModelOutput that begins with one"
    )
