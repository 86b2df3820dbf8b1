"""AdamW over exactly the parameters that train, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from plora.training.settings import Schedule


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW; matrices decay, vectors (biases, scales) do not."""
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=learning_rate, fused=True)


def rate(step: int, total: int, warmup: float, schedule: Schedule) -> float:
    """Return the factor on the peak learning rate at a step.

    Rises as (step + 1) / W over the first W = ⌈warmup · total⌉ steps, then, with p the share of the remaining steps
    that is done: `linear` 1 − p, `cosine` (1 + cos π p) / 2, `constant` 1.

    Args:
        step: from 0.
        total: steps of the phase.
        warmup: share of the steps, [0, 1).
        schedule: shape after warm-up.
    """
    warmup_steps = math.ceil(warmup * total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total - warmup_steps)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0
