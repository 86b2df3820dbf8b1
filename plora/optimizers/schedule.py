"""The learning rate as a function of the step."""

import math
from typing import Literal

Schedule = Literal["linear", "cosine", "polynomial", "constant"]


def rate(step: int, total: int, warmup: float, schedule: Schedule, floor: float = 0.0, power: float = 1.0) -> float:
    """Return the factor on the peak learning rate at a step.

    Rises as (step + 1) / W over the first W = ⌈warmup · total⌉ steps; then it is f + (1 − f) · s(p), with f the floor
    and p the share of the remaining steps that is done: `linear` s = 1 − p, `cosine` s = (1 + cos π p) / 2,
    `polynomial` s = (1 − p)^power, `constant` s = 1.

    Args:
        step: from 0.
        total: steps of the phase.
        warmup: share of the steps, [0, 1).
        schedule: shape after warm-up.
        floor: f, [0, 1].
        power: of `polynomial`, > 0.
    """
    warmup_steps = math.ceil(warmup * total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total - warmup_steps)
    shape = 1.0
    if schedule == "linear":
        shape = 1.0 - done
    elif schedule == "cosine":
        shape = 0.5 * (1.0 + math.cos(math.pi * done))
    elif schedule == "polynomial":
        shape = (1.0 - done) ** power
    return floor + (1.0 - floor) * shape
