"""Momentum, schedules and layer-wise decay, one number at a time."""

import math
from collections.abc import Sequence


def sgd(
    start: float, gradients: Sequence[float], rates: Sequence[float], momentum: float, decay: float, nesterov: bool
) -> list[float]:
    """Where one weight is after each step."""
    weight, velocity, places = start, None, []
    for gradient, rate in zip(gradients, rates, strict=True):
        slope = gradient + decay * weight
        velocity = slope if velocity is None else momentum * velocity + slope
        weight = weight - rate * (slope + momentum * velocity if nesterov else velocity)
        places.append(weight)
    return places


def rates(total: int, warmup: int, schedule: str, floor: float, power: float) -> list[float]:
    """The factor of each step of a phase with `warmup` first steps that rise."""
    found = [(step + 1) / warmup for step in range(warmup)]
    for step in range(total - warmup):
        left = 1 - step / (total - warmup)
        shape = {
            "linear": left,
            "cosine": math.cos(math.pi * (1 - left) / 2) ** 2,
            "polynomial": left**power,
            "constant": 1,
        }[schedule]
        found.append(shape + floor * (1 - shape))
    return found


def layer_rates(order: Sequence[str], rate: float, decay: float) -> dict[str, float]:
    """The rate of each layer of a network from its input to its output, where blocks are called `block N`."""
    found = {}
    for name in reversed(order):
        found[name] = rate
        if name.startswith("block"):
            rate *= decay  # for all that is below this block
    return found
