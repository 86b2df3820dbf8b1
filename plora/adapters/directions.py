"""How large the low-rank slots are in each layer, and how they lie to each other; no ΔW of one beside another is made.

‖B A‖²_F = tr((Bᵀ B) (A Aᵀ))    ⟨B_i A_i, B_j A_j⟩ = tr((B_iᵀ B_j) (A_j A_iᵀ))
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plora.adapters.bank import Bank


class Directions:
    """What a gate may ask of the slots when one of them is committed; worked out when it is asked for.

    Args:
        banks: of the network, by layer path.

    Attributes:
        layers: of each bank, the position of its layer among all adapted layers, as in a route per `layer`.
        sites: of each bank, its position among all places, as in a route per `site`.
    """

    def __init__(self, banks: Mapping[str, Bank]) -> None:
        self._banks = dict(banks)
        self.layers = tuple(bank.index for bank in banks.values())
        self.sites = tuple(bank.site for bank in banks.values())

    @torch.no_grad()
    def norms(self, slot: str) -> dict[str, float]:
        """Return ‖ΔW‖_F of a slot by layer path."""
        return {path: float(bank.delta(slot).norm()) for path, bank in self._banks.items()}

    @torch.no_grad()
    def factor_norms(self, slot: str) -> dict[str, float]:
        """Return s ‖B‖_F ‖A‖_F of a slot by layer path, which is never below ‖ΔW‖_F."""
        found = {}
        for path, bank in self._banks.items():
            A, B = bank.rows(slot)
            found[path] = bank.shape(slot).scale * float(B.norm()) * float(A.norm())
        return found

    @torch.no_grad()
    def gram(self, slots: Sequence[str]) -> Tensor:
        """Return ⟨ΔW_i, ΔW_j⟩_F of K slots in each of P banks, `[P, K, K]` in fp64."""
        return torch.stack([_gram(bank, slots) for bank in self._banks.values()])


def _gram(bank: Bank, slots: Sequence[str]) -> Tensor:
    """`[K, K]`: products of N = Σ rank rows, of A and of B, whose blocks are added up."""
    rows = [bank.rows(name) for name in slots]
    A = torch.cat([A for A, _ in rows]).double()
    B = torch.cat([bank.shape(name).scale * B.double() for name, (_, B) in zip(slots, rows, strict=True)])
    ranks = torch.tensor([len(A) for A, _ in rows], device=A.device)
    owner = torch.repeat_interleave(torch.eye(len(slots), dtype=A.dtype, device=A.device), ranks, dim=0)
    return owner.T @ ((A @ A.T) * (B @ B.T)) @ owner
