"""Old answers behind the background, pixel by pixel."""

import math
from collections.abc import Sequence


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(z / temperature) for z in logits]
    return [one / sum(powers) for one in powers]


def behind_the_background(
    before: Sequence[Sequence[float]], now: Sequence[Sequence[float]], temperature: float
) -> float:
    """The mean over the pixels of one image; each has its logits."""
    found = []
    for old, new in zip(before, now, strict=True):
        p, q = softmax(old, temperature), softmax(new, temperature)
        expected = [q[0] + sum(q[len(p) :]), *q[1 : len(p)]]
        found.append(sum(one * math.log(one / other) for one, other in zip(p, expected, strict=True)))
    return sum(found) / len(found)
