"""Ridge regression on random features."""

import torch.nn.functional as F
from torch import Tensor

from plora.heads.random_features import RandomFeaturesHead
from plora.heads.ridge import best_ridge


class RanPACHead(RandomFeaturesHead):
    """Ridge regression on random features: φ(f) = relu(P f), P `[k, d]` ~ N(0, 1), drawn once and never trained.

    A fixed random layer lets a linear solution separate what is not linearly separable in f. It keeps what ridge
    regression has: sums alone, no example, and the same weights whatever the order of the tasks.

    Source: McDonnell et al. 2023 (RanPAC, arXiv 2307.02251), without the adapter of its first phase. It projects to
    10,000 columns; here 2,000, whose 32 MB of sums per group and eigenvalues in seconds suit a CPU.
    """

    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        return F.relu(features @ self.projection.to(features).T)

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        return best_ridge(group["gram"], group["cross"], self._design(val_features, group), val_onehot)
