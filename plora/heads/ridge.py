"""Ridge regression on one-hot labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.heads.gram import GramHead

RIDGE_GRID = tuple(10.0**exponent for exponent in range(-8, 9))
"""Values of λ tried on validation data (RanPAC's grid)."""


class RidgeHead(GramHead):
    """Ridge regression on one-hot labels: W = Q (G + λ I)⁻¹, G = Σ φ φᵀ, Q = Σ onehot(y) φᵀ, φ = (f, 1).

    λ is the value of `RIDGE_GRID` with the smallest squared error on the current task's validation split.
    Source: RanPAC (arXiv 2307.02251) without its random projection.
    """

    def __init__(self, features: int, pooled: bool) -> None:
        super().__init__(features, pooled)
        self.columns = features + 1

    def _recount(self, group: dict[str, Tensor]) -> None:
        group["cross"], group["gram"] = group["class_sums"].clone(), group["moments"].clone()

    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        return F.pad(features, (0, 1), value=1.0)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        return best_ridge(group["gram"], group["cross"], self._design(val_features, group), val_onehot)


def best_ridge(gram: Tensor, cross: Tensor, val_design: Tensor, val_targets: Tensor) -> Tensor:
    """Return W = Q (G + λ I)⁻¹ `[rows, k]` with the λ of `RIDGE_GRID` of the smallest squared error on validation data.

    Args:
        gram: G = Σ φ φᵀ `[k, k]`, fp64.
        cross: Q = Σ t φᵀ `[rows, k]`.
        val_design: φ of the validation split `[M, k]`.
        val_targets: t of the validation split `[M, rows]`.
    """
    eigenvalues, basis = torch.linalg.eigh(gram)  # one decomposition serves the whole grid
    projected = cross @ basis
    design = val_design @ basis
    errors = [
        (design @ (projected / (eigenvalues.clamp_min(0) + λ)).T - val_targets).square().mean() for λ in RIDGE_GRID
    ]
    best = RIDGE_GRID[int(torch.stack(errors).argmin())]
    weight: Tensor = (projected / (eigenvalues.clamp_min(0) + best)) @ basis.T
    return weight
