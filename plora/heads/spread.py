"""Features that are projected so that class means stand far apart, and a ridge classifier over them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.heads.random_features import RandomFeaturesHead
from plora.heads.ridge import best_ridge

_EACH = 100
"""Pseudo-features of each class from which the classifier is solved."""


class SpreadHead(RandomFeaturesHead):
    """Ridge regression on random features of projected ones: score = W (relu(P z), 1), z = V relu(P f).

    V is ridge regression from relu(P f) to a target for each class: M − m̄ = U S Rᵀ are the centred class means of f,
    and the targets T = U Rᵀ have the same directions with all singular values 1, so that classes which were near to
    each other are as far apart as all others. W is ridge regression on one-hot labels. Since z changes with every
    task, the sums that W needs are made anew each time, from 100 pseudo-features per class, f ~ N(μ_c, Σ), with a
    covariance that all classes share: sums are kept, and no example. V does not depend on the order of the tasks; W
    does as far as what is drawn for a class depends on its position.

    Source: in the spirit of AnaCP (Momeni et al. 2025, arXiv 2511.13880: prototypes that are kept apart, a projection
    that is solved, pseudo-features with a shared covariance); these formulas are our own.
    """

    keeps_statistics = True

    def _shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        return {
            **super()._shapes(rows),
            "weight": (rows, self.columns + 1),
            "projector": (self.features, self.columns),
        }

    def _decisive(self) -> tuple[str, ...]:
        return ("weight", "temperature", "projector")

    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        return F.relu(features @ self.projection.to(features).T)

    def _scored(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        projected = self._design(features, group) @ group["projector"].to(features).T
        return F.pad(self._design(projected, group), (0, 1), value=1.0)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        gaussians = self._gaussians(group)
        targets = apart(gaussians.means, gaussians.met)
        group["projector"] = best_ridge(
            group["gram"], targets.T @ group["cross"], self._design(val_features, group), val_onehot @ targets
        )
        features, onehot = gaussians.draw_all(_EACH, seed=0)
        design = self._scored(features, group)
        return best_ridge(design.T @ design, onehot.T @ design, self._scored(val_features, group), val_onehot)


def apart(means: Tensor, met: list[int]) -> Tensor:
    """Return targets `[C, d]` of class means: their directions, with all singular values 1; 0 of classes not met.

    Args:
        means: of the classes `[C, d]`.
        met: classes that have examples.
    """
    targets = torch.zeros_like(means)
    own = means[met]
    U, S, R = torch.linalg.svd(own - own.mean(0), full_matrices=False)
    kept = (S / S.max()) > 1e-9  # the centred means of C classes have C − 1 directions at most
    targets[met] = U[:, kept] @ R[kept]
    return targets
