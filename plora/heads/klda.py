"""Linear discriminant analysis in the feature space of a Gaussian kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.heads.pseudo_features import means_of, shared_covariance
from plora.heads.random_features import RandomFeaturesHead

SHRINKAGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
"""Values of λ tried on validation data."""
_LOOKED_AT = 500
"""Examples between which distances are measured."""


class KLDAHead(RandomFeaturesHead):
    """Kernel LDA: score_c = μ_cᵀ Σ_λ⁻¹ φ − ½ μ_cᵀ Σ_λ⁻¹ μ_c, with a class's mean μ_c in φ and one covariance Σ.

    φ(f) = m^(−½) (cos(P f / σ), sin(P f / σ)) with P `[m, d]` ~ N(0, 1) drawn once, so that φ(f)ᵀ φ(g) is about the
    Gaussian kernel exp(−‖f − g‖² / 2σ²). σ is the median distance between examples of the first task (of a block that
    is solved alone, its own), and stays. Σ_λ = (1 − λ) Σ + λ tr(Σ)/k I, with the λ of `SHRINKAGES` of the smallest
    cross-entropy on the current task's validation split. All classes count alike, however many examples they have.
    For one σ and λ the order of the tasks changes nothing.

    Source: Momeni et al. 2024 (KLDA, arXiv 2412.15571), which draws cosines with a random phase and sets σ by hand.
    """

    def _sizes(self, number: int) -> tuple[int, int]:
        return 2 * (number // 2) + 1, number // 2  # pairs, and the constant of the score

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {**super()._shapes(rows), "bandwidth": ()}

    def _decisive(self) -> tuple[str, ...]:
        return ("weight", "temperature", "bandwidth")

    def _observe(self, group: dict[str, Tensor], features: Tensor, onehot: Tensor) -> None:
        if "bandwidth" not in group:
            shown = features[:: -(-len(features) // _LOOKED_AT)]
            apart = F.pdist(shown).median() if len(shown) > 1 else shown.new_ones(())
            group["bandwidth"] = torch.where(apart > 0, apart, torch.ones_like(apart))
        super()._observe(group, features, onehot)

    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        angles = features @ self.projection.to(features).T / group["bandwidth"].to(features)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1) / len(self.projection) ** 0.5
        return F.pad(waves, (0, 1), value=1.0)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        means, _ = means_of(group["cross"])
        eigenvalues, basis = torch.linalg.eigh(shared_covariance(group["cross"], group["gram"]))
        eigenvalues, means = eigenvalues.clamp_min(0), means @ basis
        design, found = self._design(val_features, group), []
        for λ in SHRINKAGES:
            shrunk = (1 - λ) * eigenvalues + λ * eigenvalues.mean().clamp_min(torch.finfo(means.dtype).tiny)
            W = means / shrunk
            weight = torch.cat([W @ basis.T, -0.5 * (W * means).sum(1, keepdim=True)], dim=1)
            found.append((F.cross_entropy(design @ weight.T, val_onehot.argmax(1)).item(), weight))
        return min(found, key=lambda one: one[0])[1]
