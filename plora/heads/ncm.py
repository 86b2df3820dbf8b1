"""The nearest class mean."""

import torch.nn.functional as F
from torch import Tensor

from plora.heads.closed_form import ClosedFormHead


class NCMHead(ClosedFormHead):
    """Nearest class mean: score_c = cos(f, μ_c) with μ_c the mean feature of class c.

    Source: SimpleCIL (arXiv 2303.07338).
    """

    def _design(self, features: Tensor, group: dict[str, Tensor]) -> Tensor:
        return F.normalize(features, dim=1)

    def _recount(self, group: dict[str, Tensor]) -> None:
        group["cross"] = group["class_sums"][:, :-1].clone()

    def _solve(self, group: dict[str, Tensor], val_features: Tensor, val_onehot: Tensor) -> Tensor:
        return F.normalize(group["cross"], dim=1)  # cos does not see the division by n_c
