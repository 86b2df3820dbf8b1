"""Strategies: what protects old knowledge. A new one is one file here and one line in the table."""

from plora.strategies.base import Lesson, Progress, Rehearsal, Seen, Strategy
from plora.strategies.distillation import Distillation
from plora.strategies.ewc import EWC
from plora.strategies.ewc_lora import EWCLoRA
from plora.strategies.generative import GenerativeReplay
from plora.strategies.orthogonal import Orthogonality
from plora.strategies.replay import Replay
from plora.strategies.sparsity import Sparsity

STRATEGIES: dict[str, type[Strategy]] = {
    "orthogonality": Orthogonality,
    "ewc": EWC,
    "ewc_lora": EWCLoRA,
    "replay": Replay,
    "generative_replay": GenerativeReplay,
    "distillation": Distillation,
    "sparsity": Sparsity,
}

__all__ = [
    "EWC",
    "STRATEGIES",
    "Distillation",
    "EWCLoRA",
    "GenerativeReplay",
    "Lesson",
    "Orthogonality",
    "Progress",
    "Rehearsal",
    "Replay",
    "Seen",
    "Sparsity",
    "Strategy",
]
