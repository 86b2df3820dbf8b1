"""Orthogonality of the new slot to the old ones (O-LoRA)."""

import torch
from torch import Tensor

from plora.adapters.bank import Bank
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies.base import Strategy
from plora.strategies.settings import OrthogonalitySettings


class Orthogonality(Strategy):
    """L = λ₁ Σ_layers Σ_{i<t} φ(A_i A_tᵀ) + λ₂ Σ_layers (‖A_t‖_F + ‖B_t‖_F), φ = Σ|·| (`l1`) or Σ(·)² (`sq`).

    A_i are committed and constant, A_t is the live parameter, so the gradient reaches it; all A_i of a layer are one
    matrix, so the term costs one small product per layer however many tasks there were. The two φ differ in scale:
    a weight that suits one does not suit the other. The term is added once per optimizer step, so gradient
    accumulation does not change its strength (in the official code it does).

    Source: Wang et al. 2023 (arXiv 2310.14152); `l1` and λ₂ are the official code's, `sq` is the paper's.
    """

    settings: OrthogonalitySettings

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        """Return `orthogonality` (from the second task on) and `norm` (when λ₂ > 0), weighted."""
        banks = _open_banks(model)
        terms: dict[str, Tensor] = {}
        if self.settings.weight and any(len(bank.A_old) for bank in banks):
            overlaps = [_overlap(bank) for bank in banks]
            phi = [(o.abs() if self.settings.penalty_form == "l1" else o.square()).sum() for o in overlaps]
            terms["orthogonality"] = self.settings.weight * torch.stack(phi).sum()
        if self.settings.norm_weight:
            norms = [matrix.norm() for bank in banks for matrix in (bank.A, bank.B) if matrix is not None]
            terms["norm"] = self.settings.norm_weight * torch.stack(norms).sum()
        return terms

    @torch.no_grad()
    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return the mean |cos| between rows of A_t and rows of all A_i: shrinking A_t does not lower it."""
        cosines = []
        for bank in _open_banks(model):
            if bank.A is not None and len(bank.A_old):
                norms = bank.A_old.norm(dim=1, keepdim=True) * bank.A.norm(dim=1)
                cosines.append((_overlap(bank).abs() / norms.clamp_min(1e-12)).mean())
        return {"mean_abs_cos": torch.stack(cosines).mean().item()} if cosines else {}


def _open_banks(model: ContinualModel) -> list[Bank]:
    banks = model.adapters.banks.values() if model.adapters else ()
    return [bank for bank in banks if bank.A is not None]


def _overlap(bank: Bank) -> Tensor:
    """A_old A_tᵀ, `[N, r]`."""
    assert bank.A is not None
    return bank.A_old @ bank.A.T
