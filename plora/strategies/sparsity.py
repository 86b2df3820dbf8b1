"""Sparse updates seldom collide (N-LoRA)."""

import torch
from torch import Tensor

from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies.base import Strategy
from plora.strategies.settings import SparsitySettings


class Sparsity(Strategy):
    """L = λ Σ_layers ‖ΔW_t‖₁, ΔW_t = s · B_t A_t: the new slot changes few entries of each weight.

    It looks at the new slot alone: that its entries are not those of older slots follows from all of them being few.

    Source: Yang et al. 2024 (N-LoRA, arXiv 2410.10179).
    """

    settings: SparsitySettings

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        """Return `sparsity`."""
        deltas = self._deltas(model) if self.settings.weight else []
        return (
            {"sparsity": self.settings.weight * torch.stack([delta.abs().sum() for delta in deltas]).sum()}
            if deltas
            else {}
        )

    @torch.no_grad()
    def diagnostics(self, model: ContinualModel) -> dict[str, float]:
        """Return the share of entries of ΔW_t below 1 % of the largest of their layer, mean over layers that moved."""
        small = [
            (delta.abs() < 0.01 * delta.abs().max()).float().mean() for delta in self._deltas(model) if delta.any()
        ]
        return {"share_near_zero": torch.stack(small).mean().item()} if small else {}

    @staticmethod
    def _deltas(model: ContinualModel) -> list[Tensor]:
        banks = model.adapters.banks.values() if model.adapters else ()
        return [bank.delta(bank.open_name) for bank in banks if bank.open_name is not None]
