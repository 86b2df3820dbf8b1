"""What old answers say of pixels of which some were background and are of a new class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def behind_the_background(before: Tensor, now: Tensor, temperature: float) -> Tensor:
    """Return how far new answers for pixels are from old ones, which took new classes for background.

        mean over pixels of KL(p ‖ q̂),  p = softmax(z_old / τ),  q = softmax(z / τ)
        q̂_background = q_background + Σ_new q_c,  q̂_c = q_c for every other old class c

    Args:
        before: logits `[R, C_old, h, w]` of the model as it was; the background is the first class.
        now: logits `[R, C, h, w]`, those of new classes after the old ones.
        temperature: τ.

    Returns:
        The sum over the R images.

    Source: Cermelli et al. 2020 (MiB, arXiv 2002.00718), eq. 8, where the entropy of p, a constant, is left out.
    """
    old = before.shape[1]
    p = F.log_softmax(before / temperature, dim=1)
    q = F.log_softmax(now / temperature, dim=1)
    background = torch.cat([q[:, :1], q[:, old:]], dim=1).logsumexp(dim=1, keepdim=True)
    apart = F.kl_div(torch.cat([background, q[:, 1:old]], dim=1), p, reduction="none", log_target=True)
    return apart.sum(dim=1).mean(dim=(1, 2)).sum()
