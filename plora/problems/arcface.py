"""Classes by angles: of its own class, a query that has one is asked for a margin."""

import math

import torch
from torch import Tensor

from plora.problems.settings import ArcFace

_NEAR = 1e-7
"""How close to 1 and −1 a cosine comes: at these its angle has no slope."""


def with_margin(logits: Tensor, labels: Tensor, settings: ArcFace) -> Tensor:
    """Return logits s cos θ, of which that of the true class is s cos(θ + m).

        cos(θ + m) = cos θ cos m − sin θ sin m    where θ + m ≤ π, else cos θ − m sin m

    which falls with θ everywhere, and has a finite slope.

    Args:
        logits: `[M, k]`, of which those at the labels are s cos θ.
        labels: `[M]` the true class of each.
        settings: s and m.

    Source: Deng et al. 2019 (ArcFace, arXiv 1801.07698).
    """
    own = labels[:, None]
    scale, margin = settings.scale, settings.margin
    cosine = (logits.gather(1, own) / scale).clamp(-1 + _NEAR, 1 - _NEAR)
    turned = cosine * math.cos(margin) - (1 - cosine**2).sqrt() * math.sin(margin)
    beyond = cosine - margin * math.sin(margin)
    found = torch.where(cosine >= -math.cos(margin), turned, beyond)
    return logits.scatter(1, own, scale * found)
