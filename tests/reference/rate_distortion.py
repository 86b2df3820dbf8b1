"""J of one block for one partition type, one pixel and one rectangle after the other."""

import math

import numpy as np
from numpy.typing import NDArray

from plora.streams.partitions import PARTITIONS, partitions_at


def block_costs(luma: NDArray[np.uint8], top: int, left: int, size: int, step: float) -> list[float]:
    """J of every type of the block whose first pixel is (top, left)."""
    bit = 0.85 * (step / 2) ** 2
    names = partitions_at(size)
    found = []
    for name in names:
        cost = bit * math.log2(len(names))
        for share_top, share_left, high, wide in PARTITIONS[name]:
            y, x = top + round(share_top * size), left + round(share_left * size)
            if name == "SPLIT" and size > 8:
                cost += min(block_costs(luma, y, x, size // 2, step))
            else:
                cost += rectangle_cost(luma, y, x, round(high * size), round(wide * size), step)
        found.append(cost)
    return found


def rectangle_cost(luma: NDArray[np.uint8], top: int, left: int, height: int, width: int, step: float) -> float:
    image = luma.astype(float)
    above = [image[top - 1, left + x] for x in range(width)]
    beside = [image[top + y, left - 1] for y in range(height)]
    corner = image[top - 1, left - 1]
    residuals = []
    for mode in ("dc", "vertical", "horizontal", "smooth", "paeth"):
        residual = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                if mode == "dc":
                    guess = (sum(above) + sum(beside)) / (height + width)
                elif mode == "vertical":
                    guess = above[x]
                elif mode == "horizontal":
                    guess = beside[y]
                elif mode == "smooth":
                    down, across = (height - y) / height, (width - x) / width
                    guess = down * above[x] + (1 - down) * beside[-1] + across * beside[y] + (1 - across) * above[-1]
                    guess /= 2
                else:
                    base = above[x] + beside[y] - corner
                    guess = min((beside[y], above[x], corner), key=lambda one: abs(base - one))
                residual[y, x] = image[top + y, left + x] - guess
        residuals.append(residual)
    residual = min(residuals, key=lambda one: float((one**2).sum()))
    bits, distortion = math.log2(5) + 1, 0.0
    levels = {}
    for u in range(height):
        for v in range(width):
            value = sum(
                residual[y, x] * basis(u, y, height) * basis(v, x, width) for y in range(height) for x in range(width)
            )
            level = math.floor(abs(value) / step + 1 / 3 + 1e-9)
            distortion += (abs(value) - level * step) ** 2
            levels[u, v] = level
    coded = [(u, v) for (u, v), level in levels.items() if level]
    if coded:
        last = max(u + v for u, v in coded)
        places = sum(u + v <= last for u, v in levels)
        share = len(coded) / places
        bits += math.log2(height + width - 1)
        if share < 1:
            bits += places * (-share * math.log2(share) - (1 - share) * math.log2(1 - share))
        bits += sum(2 + 2 * math.floor(math.log2(levels[place])) for place in coded)
    return distortion + 0.85 * (step / 2) ** 2 * bits


def basis(frequency: int, place: int, length: int) -> float:
    scale = math.sqrt((1 if frequency == 0 else 2) / length)
    return scale * math.cos(math.pi * frequency * (2 * place + 1) / (2 * length))
