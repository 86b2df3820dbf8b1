"""A linear layer with banks beside it; the layer's own weight is never written."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from plora.adapters.bank import Bank
from plora.adapters.route import Switch
from plora.errors import AdapterError

WHOLE = "whole"
"""Name of the only site of a layer that is not a fused projection."""


class AdaptedLinear(nn.Module):
    """y = base(x) + Σ over sites of the bank's share in that slice of the output.

    A fused projection (ModernBERT `Wqkv`, GPT-2 `c_attn`) has a site for each of q, k and v: a bank of its own
    that adds to a slice of the output, so that q and v can be adapted without k.

    Args:
        base: `nn.Linear` or `transformers` Conv1D (GPT-2, weight stored `[I, O]`).
        path: its path in the network.
        index: its position among the adapted layers.
        sites: output slice of each site; `{WHOLE: slice(0, O)}` for a plain layer.
        switch: holds the route in force.
    """

    def __init__(
        self, base: nn.Linear | Conv1D, path: str, index: int, sites: Mapping[str, slice], switch: Switch
    ) -> None:
        super().__init__()
        self.base, self.path, self.switch, self.sites = base, path, switch, dict(sites)
        self.transposed = isinstance(base, Conv1D)
        rows, columns = base.weight.shape
        in_features = rows if self.transposed else columns
        self.banks = nn.ModuleDict(
            {
                site: Bank(in_features, part.stop - part.start, _site_path(path, site), index)
                for site, part in sites.items()
            }
        ).to(base.weight.device)
        self.folded_weight: Tensor | None = None  # [O, I]; plain attribute: never saved, never a parameter

    def bank(self, site: str) -> Bank:
        """Return the bank of one site."""
        bank = self.banks[site]
        assert isinstance(bank, Bank)
        return bank

    @property
    def all_banks(self) -> list[Bank]:
        """The banks of all sites, in the order of their output slices."""
        return [self.bank(site) for site in self.sites]

    def pristine_weight(self) -> Tensor:
        """Return the base weight as `[O, I]`, whatever the base's own layout."""
        weight: Tensor = self.base.weight.detach()
        return weight.T if self.transposed else weight

    def effective_weight(self, coefficients: Mapping[str, float | Tensor]) -> Tensor:
        """Return W + Σ_k c_k s_k B_k A_k, `[O, I]`, from the pristine weight and the slots in their order.

        Recomputed, never updated in place: W + d − d ≠ W in floating point.
        """
        if not self.base.weight.is_floating_point():
            raise AdapterError(
                f"layer '{self.path}' stores its weight as {self.base.weight.dtype}; folding needs a floating-point "
                "weight, run without folding"
            )
        weight = self.pristine_weight().float().clone()
        for site, part in self.sites.items():
            for name, c in coefficients.items():
                weight[part] += c * self.bank(site).delta(name).detach()
        return weight.to(self.base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[…, I]` to `[…, O]` under the switch's route."""
        route = self.switch.route
        if route.folded:
            if self.folded_weight is None:
                raise AdapterError(f"the route is folded but layer '{self.path}' is not; call Adapters.fold first")
            y = F.linear(x, self.folded_weight, self.base.bias)
        else:
            y = self.base(x)
        if not route.slots:
            return y
        if WHOLE in self.sites:
            whole: Tensor = self.banks[WHOLE](x, y, route)
            return whole
        parts, end = [], 0
        for site, part in self.sites.items():
            parts += [y[..., end : part.start], self.banks[site](x, y[..., part], route)]
            end = part.stop
        return torch.cat([*parts, y[..., end:]], dim=-1)


def _site_path(path: str, site: str) -> str:
    return path if site == WHOLE else f"{path}[{site}]"
