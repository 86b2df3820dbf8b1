"""A linear layer, or a convolution, with banks beside it; the layer's own weight is never written."""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from plora.adapters.bank import Bank, Window
from plora.adapters.route import Route
from plora.adapters.switch import Switch
from plora.adapters.weights import why_not_written
from plora.errors import AdapterError

WHOLE = "whole"
"""Name of the only site of a layer that is not a fused projection."""


class AdaptedLinear(nn.Module):
    """y = base(x) + Σ over sites of the bank's share in that slice of the output.

    A fused projection (ModernBERT `Wqkv`, GPT-2 `c_attn`) has a site for each of q, k and v: a bank of its own
    that adds to a slice of the output, so that q and v can be adapted without k.

    Args:
        base: `nn.Linear`, `transformers` Conv1D (GPT-2, weight stored `[I, O]`), or `nn.Conv2d` without groups, whose
            weight is seen as `[O, I]` with I = C · k_h · k_w.
        path: its path in the network.
        index: its position among the adapted layers.
        first_site: position of its first bank among all places.
        sites: output slice of each site; `{WHOLE: slice(0, O)}` for a plain layer.
        switch: holds the route in force.
    """

    def __init__(
        self,
        base: nn.Linear | Conv1D | nn.Conv2d,
        path: str,
        index: int,
        sites: Mapping[str, slice],
        switch: Switch,
        first_site: int = 0,
    ) -> None:
        super().__init__()
        self.base, self.path, self.index, self.switch, self.sites = base, path, index, switch, dict(sites)
        self.transposed = isinstance(base, Conv1D)
        self.window = window_of(base) if isinstance(base, nn.Conv2d) else None
        in_features, _ = features(base)
        self.banks = nn.ModuleDict(
            {
                site: Bank(
                    in_features, part.stop - part.start, _site_path(path, site), index, first_site + number, self.window
                )
                for number, (site, part) in enumerate(sites.items())
            }
        ).to(base.weight.device, at_least_fp32(base.weight))
        self.folded_weight: Tensor | None = None  # [O, I]; plain attribute: never saved, never a parameter
        self.folded_route: Route | None = None  # what is folded into it
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
        return features(self.base)[1]

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
        return weight.T if self.transposed else weight.flatten(1)

    def why_not_folded(self) -> str | None:
        """Return why W + ΔW cannot stand in for this layer's weight; None where it can."""
        reason = why_not_written(self.base)
        return None if reason is None else f"layer '{self.path}' cannot do this: {reason}"

    def in_layout(self, weight: Tensor) -> Tensor:
        """Return a weight `[O, I]` in the base's own layout."""
        return weight.T if self.transposed else weight.view_as(self.base.weight)

    def fixed_coefficients(self, route: Route, purpose: str) -> dict[str, dict[str, float]]:
        """Return at each site c_k of each slot of a route, by the slot's name.

        Args:
            route: not folded.
            purpose: what is made of them, for the error.

        Raises:
            AdapterError: the route's ΔW is not the same for every input, or is folded already.
        """
        if route.per in ("sample", "token") or route.mixing:
            raise AdapterError(
                f"slots with coefficients per {route.per if not route.mixing else 'rank (mixing)'} have no single "
                f"{purpose}; use fixed coefficients per slot or layer"
            )
        if route.folded:  # with coefficients that only the effective weight knows
            raise AdapterError("the slots in use are folded; call unfold() and use(…) them unfolded first")
        return {site: _of_bank(route, self.bank(site)) for site in self.sites}

    def effective_weight(self, coefficients: Mapping[str, Mapping[str, float]]) -> Tensor:
        """Return W + Σ_k c_k s_k B_k A_k, `[O, I]`, from the pristine weight and the slots in their order.

        Recomputed, never updated in place: W + d − d ≠ W in floating point.

        Args:
            coefficients: of each site, c_k by the slot's name.
        """
        weight = self.pristine_weight().to(at_least_fp32(self.base.weight), copy=True)
        for site, part in self.sites.items():
            for name, c in coefficients[site].items():
                weight[part] += c * self.bank(site).delta(name).detach()
        return weight.to(self.base.weight.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[…, I]` to `[…, O]` under the switch's route; a convolution `[…, C, H, W]` to `[…, O, H', W']`."""
        route = self.switch.of_this_call()
        if route.folded:
            if self.folded_weight is None:
                raise AdapterError(f"the route is folded but layer '{self.path}' is not; call Adapters.fold first")
            wanted = self.all_banks[0].committed.keys() & route.slots
            held = set() if self.folded_route is None else {*self.folded_route.slots}
            if wanted != held:
                raise AdapterError(
                    f"the route wants slots {sorted(wanted)} folded, but layer '{self.path}' has "
                    f"{sorted(held)} folded; call Adapters.fold again"
                )
            y = self._with_weight(x, self.folded_weight)
        else:
            y = self.base(x)
        if not route.slots:
            return y
        if self.window is not None:
            mapped: Tensor = self.banks[WHOLE](x, y.movedim(-3, -1), route)
            return mapped.movedim(-1, -3)
        if WHOLE in self.sites:
            whole: Tensor = self.banks[WHOLE](x, y, route)
            return whole
        parts, end = [], 0
        for site, part in self.sites.items():
            parts += [y[..., end : part.start], self.banks[site](x, y[..., part], route)]
            end = part.stop
        return torch.cat([*parts, y[..., end:]], dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AdaptedLinear":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.folded_weight is not None:  # goes with the base weight to another device, or into another type
            self.folded_weight = fn(self.folded_weight)
        return self

    def _with_weight(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer with another weight `[O, I]`."""
        window = self.window
        if window is None:
            return F.linear(x, weight, self.base.bias)
        kernel = weight.view_as(self.base.weight)
        return F.conv2d(x, kernel, self.base.bias, window.stride, window.padding, window.dilation)


def is_linear(module: nn.Module) -> bool:
    """Say whether a module is a linear layer that a bank can stand beside: one map, and not one for each group."""
    return isinstance(module, nn.Linear | Conv1D) and getattr(module, "n_groups", 1) == 1


def is_layer(module: nn.Module) -> bool:
    """Say whether a module is a linear layer or a convolution."""
    return is_linear(module) or isinstance(module, nn.Conv2d)


def features(layer: nn.Module) -> tuple[int, int]:
    """Return I and O of a layer: how many numbers an output reads, and how many outputs there are."""
    assert isinstance(layer, nn.Linear | Conv1D | nn.Conv2d)
    if isinstance(layer, nn.Linear):  # what it says: quantized weights are packed into other shapes
        return layer.in_features, layer.out_features
    if isinstance(layer, Conv1D):
        return layer.weight.shape[0], layer.weight.shape[1]
    return layer.weight[0].numel(), len(layer.weight)


def window_of(layer: nn.Conv2d) -> Window:
    """Return what a convolution reads for each position of its output.

    Raises:
        AdapterError: it has groups, or pads with anything but zeros.
    """
    padding = layer.padding
    if layer.groups > 1 or layer.padding_mode != "zeros" or isinstance(padding, str):
        raise AdapterError(
            f"a convolution with groups={layer.groups}, padding={padding!r} of kind '{layer.padding_mode}' "
            "cannot have a low-rank slot beside it; leave it out of targets (groups=1 and a number of zeros are needed)"
        )
    size, stride, dilation = (_pair(given) for given in (layer.kernel_size, layer.stride, layer.dilation))
    return Window(layer.in_channels, size, stride, _pair(padding), dilation)


def _pair(given: Sequence[int]) -> tuple[int, int]:
    down, across = given
    return down, across


def at_least_fp32(weight: Tensor) -> torch.dtype:
    """Return the type in which a weight's slots are held: its own, and of half precision, less or integers fp32."""
    plain = weight.is_floating_point() and weight.element_size() > 1
    return torch.promote_types(weight.dtype, torch.float32) if plain else torch.float32


def _of_bank(route: Route, bank: Bank) -> dict[str, float]:
    c = route.coefficients_of(bank.index, bank.site)
    per_slot: list[float] = [1.0] * len(route.slots) if c is None else c.detach().tolist()
    return dict(zip(route.slots, per_slot, strict=True))


def _site_path(path: str, site: str) -> str:
    return path if site == WHOLE else f"{path}[{site}]"
