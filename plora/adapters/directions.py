"""How large a low-rank slot is in each layer, and how it lies to others, whose ΔW are not made for that.

‖B A‖²_F = tr((Bᵀ B) (A Aᵀ))    ⟨B_i A_i, B_j A_j⟩ = tr((B_iᵀ B_j) (A_j A_iᵀ))
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from plora.adapters.bank import Bank


class Directions(Mapping[str, float]):
    """‖ΔW‖_F of a slot by layer path, and what else a gate may ask when it is committed; worked out when it is asked.

    Args:
        banks: of the network, by layer path.
        slot: its name.

    Attributes:
        layers: of each bank, the position of its layer among all adapted layers, as in a route per `layer`.
        sites: of each bank, its position among all places, as in a route per `site`.
    """

    def __init__(self, banks: Mapping[str, Bank], slot: str) -> None:
        self._banks, self._slot = dict(banks), slot
        self.layers = tuple(bank.index for bank in banks.values())
        self.sites = tuple(bank.site for bank in banks.values())

    @torch.no_grad()
    def __getitem__(self, path: str) -> float:
        return float(self._banks[path].delta(self._slot).norm())

    def __iter__(self) -> Iterator[str]:
        return iter(self._banks)

    def __len__(self) -> int:
        return len(self._banks)

    @torch.no_grad()
    def of_factors(self) -> dict[str, float]:
        """Return s ‖B‖_F ‖A‖_F of the slot by layer path, which is never below ‖ΔW‖_F."""
        found = {}
        for path, bank in self._banks.items():
            A, B = bank.rows(self._slot)
            found[path] = bank.shape(self._slot).scale * float(B.norm()) * float(A.norm())
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
