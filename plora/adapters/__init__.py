"""Low-rank adapters over a sequence of tasks: banks, slots, routes, and their way in and out of a network."""

from typing import TYPE_CHECKING

from plora.adapters.settings import LoRA, Merging, SlotShape
from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.adapters.bank import Bank
    from plora.adapters.inject import find_blocks, find_targets
    from plora.adapters.interop import apply_lora, load_lora, load_slot, merge_lora, save_lora, save_route, save_slot
    from plora.adapters.linear import AdaptedLinear
    from plora.adapters.route import Route, Switch, checkpoint_blocks
    from plora.adapters.slots import Adapters, Slot

__all__ = [
    "AdaptedLinear",
    "Adapters",
    "Bank",
    "LoRA",
    "Merging",
    "Route",
    "Slot",
    "SlotShape",
    "Switch",
    "apply_lora",
    "checkpoint_blocks",
    "find_blocks",
    "find_targets",
    "load_lora",
    "load_slot",
    "merge_lora",
    "save_lora",
    "save_route",
    "save_slot",
]

__getattr__, _ = names_from(
    __name__,
    {
        "bank": ["Bank"],
        "inject": ["find_blocks", "find_targets"],
        "interop": [
            "apply_lora",
            "load_lora",
            "load_slot",
            "merge_lora",
            "save_lora",
            "save_route",
            "save_slot",
        ],
        "linear": ["AdaptedLinear"],
        "route": ["Route", "Switch", "checkpoint_blocks"],
        "slots": ["Adapters", "Slot"],
    },
)
