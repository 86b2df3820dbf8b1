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
        ).to(base.weight.device, _at_least_fp32(base.weight))
        self.folded_weight: Tensor | None = None  # [O, I]; plain attribute: never saved, never a parameter
        self.folded_slots: frozenset[str] = frozenset()
        self.train(base.training)  # a network in eval mode gets no dropout

    # Networks read these of a linear layer (T5 casts its input to `wo.weight.dtype`); they are the base's own.

    @property
    def weight(self) -> Tensor:
        """The base weight, in the base's own layout."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """The base bias."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """I."""
        return self.all_banks[0].in_features

    @property
    def out_features(self) -> int:
        """O."""
        return self.pristine_weight().shape[0]

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
        weight = self.pristine_weight().to(_at_least_fp32(self.base.weight), copy=True)
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
            wanted = self.all_banks[0].committed.keys() & route.slots
            if wanted != self.folded_slots:
                raise AdapterError(
                    f"the route wants slots {sorted(wanted)} folded, but layer '{self.path}' has "
                    f"{sorted(self.folded_slots)} folded; call Adapters.fold again"
                )
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


def _at_least_fp32(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32) if weight.is_floating_point() else torch.float32


def _site_path(path: str, site: str) -> str:
    return path if site == WHOLE else f"{path}[{site}]"
