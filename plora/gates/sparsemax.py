"""The point of the simplex that is nearest to some logits: shares that sum to 1, and many of them exactly 0."""

import torch
from torch import Tensor

from plora.errors import AdapterError


def sparsemax(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return p = argmin ‖p − z‖² over the simplex, along the last dimension.

    With z sorted downwards, k* = max {k : 1 + k z₍ₖ₎ > Σ_{j≤k} z₍ⱼ₎} and θ = (Σ_{j≤k*} z₍ⱼ₎ − 1) / k*:
    p = max(z − θ, 0). On its support S the gradient is g_i − mean_S(g), elsewhere exactly 0: a share that is 0 learns
    nothing, and neither does one that stands alone.

    Source: Martins & Astudillo 2016 (arXiv 1602.02068).

    Args:
        logits: `[…, K]` of any real type, finite.
        mask: `[…, K]` bool, what takes part; the others are 0, whatever their logits. None: all do.

    Returns:
        `[…, K]` in fp32, or fp64 where the logits are.

    Raises:
        AdapterError: there is nothing, or nothing that takes part, to share among.
    """
    z = logits if logits.dtype == torch.float64 else logits.float()
    if mask is not None:
        z = z.masked_fill(~mask, -torch.inf)
    if not z.shape[-1] or (mask is not None and not mask.any(-1).all()):
        raise AdapterError(
            f"sparsemax shares among {z.shape[-1]} logits and the mask lets none take part; leave one in at least"
        )
    z = z - z.detach().amax(-1, keepdim=True)  # p is the same for z + c, and sums of large logits round
    with torch.no_grad():
        falling, order = z.sort(dim=-1, descending=True)
        ranks = torch.arange(1, z.shape[-1] + 1, device=z.device, dtype=z.dtype)
        within = 1 + ranks * falling > falling.cumsum(-1)
        support = torch.zeros_like(within).scatter(-1, order, within)
        number = support.sum(-1, keepdim=True).to(z.dtype)
    theta = (torch.where(support, z, 0).sum(-1, keepdim=True) - 1) / number
    # At the edge of the support rounding can leave a share just below 0.
    return torch.where(support, z - theta, 0).clamp_min(0)
