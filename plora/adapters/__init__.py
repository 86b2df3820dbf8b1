"""Adapters over a sequence of tasks: places, slots, routes, and their way in and out of a network."""

from typing import TYPE_CHECKING

from plora.adapters.settings import Bottleneck, LoRA, Merging, Pointwise, SlotShape
from plora.lazy import names_from

if TYPE_CHECKING:
    from plora.adapters.bank import Bank
    from plora.adapters.blocks import find_blocks, find_stages
    from plora.adapters.bottleneck import BottleneckPlace
    from plora.adapters.directions import Directions
    from plora.adapters.inject import find_targets
    from plora.adapters.interop import apply_lora, load_lora, load_slot, merge_lora, save_lora, save_route, save_slot
    from plora.adapters.linear import AdaptedLinear
    from plora.adapters.module_slot import ModuleSlot
    from plora.adapters.place import Can, Place
    from plora.adapters.pointwise import PointwisePlace
    from plora.adapters.route import Route
    from plora.adapters.slots import Adapters, Slot
    from plora.adapters.switch import Switch, checkpoint_blocks

__all__ = [
    "AdaptedLinear",
    "Adapters",
    "Bank",
    "Bottleneck",
    "BottleneckPlace",
    "Can",
    "Directions",
    "LoRA",
    "Merging",
    "ModuleSlot",
    "Place",
    "Pointwise",
    "PointwisePlace",
    "Route",
    "Slot",
    "SlotShape",
    "Switch",
    "apply_lora",
    "checkpoint_blocks",
    "find_blocks",
    "find_stages",
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
        "blocks": ["find_blocks", "find_stages"],
        "bottleneck": ["BottleneckPlace"],
        "directions": ["Directions"],
        "inject": ["find_targets"],
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
        "module_slot": ["ModuleSlot"],
        "place": ["Can", "Place"],
        "pointwise": ["PointwisePlace"],
        "route": ["Route"],
        "slots": ["Adapters", "Slot"],
        "switch": ["Switch", "checkpoint_blocks"],
    },
)
