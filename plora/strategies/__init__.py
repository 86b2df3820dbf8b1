"""Strategies: what protects old knowledge. A new one is its settings, a line in their table, and one file here."""

from typing import TYPE_CHECKING

from plora.lazy import names_from
from plora.strategies.settings import (
    STRATEGIES,
    DistillationSettings,
    EWCLoRASettings,
    EWCSettings,
    GenerativeReplaySettings,
    InfLoRASettings,
    OrthogonalitySettings,
    ReplaySettings,
    SparsitySettings,
    StrategySettings,
)

if TYPE_CHECKING:
    from plora.strategies.base import Rehearsal, Seen, Strategy
    from plora.strategies.distillation import Distillation
    from plora.strategies.ewc import EWC
    from plora.strategies.ewc_lora import EWCLoRA
    from plora.strategies.generative import GenerativeReplay
    from plora.strategies.inf_lora import InfLoRA
    from plora.strategies.orthogonal import Orthogonality
    from plora.strategies.replay import Replay
    from plora.strategies.sparsity import Sparsity

__all__ = [
    "Distillation",
    "DistillationSettings",
    "EWC",
    "EWCLoRA",
    "EWCLoRASettings",
    "EWCSettings",
    "GenerativeReplay",
    "GenerativeReplaySettings",
    "InfLoRA",
    "InfLoRASettings",
    "Orthogonality",
    "OrthogonalitySettings",
    "Rehearsal",
    "Replay",
    "Seen",
    "ReplaySettings",
    "STRATEGIES",
    "Sparsity",
    "SparsitySettings",
    "Strategy",
    "StrategySettings",
]

__getattr__, _ = names_from(
    __name__,
    {
        "base": ["Rehearsal", "Seen", "Strategy"],
        "distillation": ["Distillation"],
        "ewc": ["EWC"],
        "ewc_lora": ["EWCLoRA"],
        "generative": ["GenerativeReplay"],
        "inf_lora": ["InfLoRA"],
        "orthogonal": ["Orthogonality"],
        "replay": ["Replay"],
        "sparsity": ["Sparsity"],
    },
)
