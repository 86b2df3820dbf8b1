"""What slots of which each knows the classes of its own step say of all classes together."""

from collections.abc import Sequence

import torch
from torch import Tensor

NOTHING = 1e-8
"""Least share of which odds are taken: beside any other, nothing in fp32."""


def united(shares: Sequence[Tensor], own: Sequence[slice]) -> Tensor:
    """Return the share of each class at each pixel, `[C, h, w]`.

        odds of class c = p_t(c) / (1 − Σ_{own classes k of t} p_t(k)),  t the slot that has learned c
        odds of the background = 1;  share = odds / sum of all odds

    To a slot all that is none of its own classes is one thing, which it saw as background while it learned. So each
    slot says how much likelier than that one of its classes is, and no slot weighs classes of another. Of a single
    slot the shares are its own. Classes of no slot have a share of 0.

    Args:
        shares: of each slot T, `[C, h, w]`: its p_t(c), which sum to 1 over the classes.
        own: of each slot, the rows of the classes that it has learned; row 0 is the background, and nobody's own.
    """
    odds = torch.zeros_like(shares[0])
    odds[0] = 1
    for p, rows in zip(shares, own, strict=True):
        mine = slice(max(rows.start, 1), rows.stop)
        odds[mine] = p[mine] / (1 - p[mine].sum(0)).clamp_min(NOTHING)
    return odds / odds.sum(0)
