"""Low-rank adapters over a sequence of tasks: banks, slots, routes, and their way in and out of a network."""

from plora.adapters.bank import Bank, SlotShape
from plora.adapters.inject import find_blocks, find_targets
from plora.adapters.interop import apply_lora, load_lora, load_slot, merge_lora, save_lora, save_route, save_slot
from plora.adapters.linear import AdaptedLinear
from plora.adapters.merging import Merging
from plora.adapters.route import Route, Switch, checkpoint_blocks
from plora.adapters.slots import Adapters, LoRA, Slot

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
