"""Slots that were learned one by one, made into one: no task id is needed to use it, and no data to make it.

With ΔW_t = s_t B_t A_t, `[O, I]` in each layer, of T slots; an entry of every layer is merged by itself:

    average   ΔW = λ/T Σ_t ΔW_t
    ties      of each slot the largest entries are kept, by magnitude over all its layers, the others are 0;
              the sign of their sum is elected; ΔW = λ · the mean of the entries that are not 0 and have that sign
    magmax    ΔW = λ · the entry of largest magnitude; of equal ones the earliest slot's

What comes out is factored again by a truncated SVD, and how much of ΔW is lost in it is returned. An average whose
rank is not cut needs none: it is the slots' own factors below each other.

Sources: model soups, Wortsman et al. 2022 (arXiv 2203.05482); TIES, Yadav et al. 2023 (arXiv 2306.01708); MagMax,
Marczak et al. 2024 (arXiv 2407.06322), whose slots are learned one after the other from the same start.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plora.adapters.bank import Bank
from plora.adapters.settings import Merging, SlotShape, Way

MERGED = "merged"
"""Name of the slot that is made of all others; no task can have it."""


@torch.no_grad()
def merge(
    banks: Mapping[str, Bank], slots: Sequence[str], way: Way, settings: Merging
) -> tuple[dict[str, tuple[SlotShape, Tensor, Tensor]], float]:
    """Return the merged slot, by layer path its shape, A `[r, I]` and B `[O, r]`; and what was lost.

    Args:
        banks: that hold the slots, by layer path.
        slots: names of T ≥ 1 slots.
        way: see the module.
        settings: λ, the share that is kept, the rank.

    Returns:
        The slot, and ‖ΔW − B A‖ / ‖ΔW‖ over all layers together.
    """
    scale = settings.scale or (0.5 if way == "magmax" else 1.0)
    smallest = [_smallest_kept(banks, name, settings.keep) for name in slots] if way == "ties" else []
    merged: dict[str, tuple[SlotShape, Tensor, Tensor]] = {}
    lost = whole = 0.0
    for path, bank in banks.items():
        deltas = [bank.delta(name) for name in slots]
        if way == "average":
            delta = average(deltas)
        elif way == "ties":
            delta = ties(deltas, smallest)
        else:
            delta = magmax(deltas)
        delta = scale * delta
        together = sum(bank.shape(name).rank for name in slots)
        rank = min(settings.rank or together, *delta.shape)
        joined = way == "average" and together <= rank
        A, B = _joined(bank, slots, scale / len(slots)) if joined else factors(delta, rank)
        merged[path] = SlotShape(len(A), 1.0), A, B
        lost += float((delta - B @ A).double().square().sum())
        whole += float(delta.double().square().sum())
    return merged, (lost / whole) ** 0.5 if whole else 0.0


def average(deltas: Sequence[Tensor]) -> Tensor:
    """Return the mean of T updates of one layer."""
    return torch.stack([*deltas]).mean(0)


def ties(deltas: Sequence[Tensor], smallest: Sequence[Tensor]) -> Tensor:
    """Return the mean of the entries that are kept and have the elected sign; 0 where none has.

    Args:
        deltas: T updates of one layer.
        smallest: of each update, the magnitude of the smallest entry that is kept.
    """
    kept = torch.stack([delta * (delta.abs() >= least) for delta, least in zip(deltas, smallest, strict=True)])
    agreeing = (kept.sign() == kept.sum(0).sign()) & (kept != 0)
    return (kept * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


def magmax(deltas: Sequence[Tensor]) -> Tensor:
    """Return of each entry the value of largest magnitude among T updates of one layer."""
    merged = deltas[0]
    for delta in deltas[1:]:
        merged = torch.where(delta.abs() > merged.abs(), delta, merged)
    return merged


def factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return A `[r, I]` and B `[O, r]` whose product is the nearest to ΔW `[O, I]` of that rank.

    The singular values are shared equally between the two.
    """
    U, S, V = torch.linalg.svd(delta, full_matrices=False)
    root = S[:rank].sqrt()
    return root[:, None] * V[:rank], U[:, :rank] * root


def _joined(bank: Bank, slots: Sequence[str], coefficient: float) -> tuple[Tensor, Tensor]:
    """A and B of the sum of slots that all count the same."""
    A = torch.cat([bank.rows(name)[0] for name in slots])
    B = torch.cat([coefficient * bank.shape(name).scale * bank.rows(name)[1] for name in slots])
    return A, B.T


def _smallest_kept(banks: Mapping[str, Bank], slot: str, share: float) -> Tensor:
    """The magnitude of a slot's smallest entry that is kept, of all layers together."""
    magnitudes = torch.cat([bank.delta(slot).abs().flatten() for bank in banks.values()])
    kept = max(int(share * len(magnitudes)), 1)
    return magnitudes.kthvalue(len(magnitudes) - kept + 1).values
