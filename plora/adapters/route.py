"""Which slots take part in one forward pass, and how much: computed once, read by every place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from plora.errors import AdapterError

CoefficientsPer = Literal["slot", "layer", "site", "sample", "token"]

_DIMENSIONS: dict[CoefficientsPer, tuple[int, str]] = {
    "slot": (1, "[slots]"),
    "layer": (2, "[layers, slots]"),
    "site": (2, "[sites, slots]"),
    "sample": (2, "[batch, slots]"),
    "token": (3, "[batch, tokens, slots]"),
}


@dataclass(frozen=True)
class Route:
    """The slots of one forward pass and their coefficients.

    Slots that are not named cost nothing: a bank slices the rows of those that are.

    Args:
        slots: S names; each at most once.
        coefficients: how much each slot contributes, last dimension S, in the order of `slots`; None means 1.
        per: what the leading dimensions are: `slot` `[S]`, `layer` `[L, S]`, `site` `[P, S]` (every place by itself,
            as q, k and v of a fused projection), `sample` `[B, S]`, `token` `[B, T, S]`; the tokens of a map
            `[B, C, H, W]` are its T = H · W positions, row by row.
        mixing: for each layer (by its path) a matrix `[N, N]` over the N = Σ rank rows of `slots`, in their
            order; row i says what enters output direction i. The diagonal is a gate per rank, the rest lateral
            connections (methods §6).
        folded: the committed slots are inside the effective weight that `Adapters.fold` made; only the open
            slot is added to it.

    Raises:
        AdapterError: a slot is named twice, the coefficients' shape is not what `per` says, or a folded route mixes.
    """

    slots: tuple[str, ...] = ()
    coefficients: Tensor | None = None
    per: CoefficientsPer = "slot"
    mixing: Mapping[str, Tensor] = field(default_factory=dict)
    folded: bool = False

    def __post_init__(self) -> None:
        if len(set(self.slots)) != len(self.slots):
            raise AdapterError(f"a route names a slot twice: {list(self.slots)}")
        if self.folded and self.mixing:
            raise AdapterError("a mixing matrix reads every slot by itself, so its route cannot be folded")
        if self.coefficients is not None:
            dimensions, shape = _DIMENSIONS[self.per]
            if self.coefficients.dim() != dimensions or self.coefficients.shape[-1] != len(self.slots):
                raise AdapterError(
                    f"coefficients per {self.per} must be {shape} with {len(self.slots)} slots, "
                    f"got {list(self.coefficients.shape)}"
                )

    def coefficients_of(self, index: int, site: int) -> Tensor | None:
        """Return what of the coefficients is for one place; None when all are 1.

        Args:
            index: position of its layer among all adapted layers.
            site: its position among all places.
        """
        if self.coefficients is None or self.per not in ("layer", "site"):
            return self.coefficients
        return self.coefficients[index if self.per == "layer" else site]

    def same_as(self, other: "Route") -> bool:
        """Say whether two routes are equal to the bit; they hold tensors, which have no equality of their own."""
        if (self.slots, self.per, self.folded) != (other.slots, other.per, other.folded):
            return False
        tensors = [
            (self.coefficients, other.coefficients),
            *((self.mixing.get(path), other.mixing.get(path)) for path in self.mixing.keys() | other.mixing.keys()),
        ]
        return all(_equal(one, two) for one, two in tensors)


def side_by_side(routes: Sequence[Route], order: Sequence[str], device: torch.device) -> Route:
    """Return one route for a batch whose samples each take a route of their own: c_bk is that of slot k on route b.

    Args:
        routes: B of them, each with coefficients per slot, or none.
        order: names of all slots as banks hold their rows, so that what is read is a view of them.
        device: of the coefficients.

    Raises:
        AdapterError: a route decides by layer, site, sample or token, mixes slots, or is folded.
    """
    on_one = {name for route in routes for name in route.slots}
    slots = tuple(name for name in order if name in on_one)
    coefficients = torch.zeros(len(routes), len(slots))
    for row, route in enumerate(routes):
        if route.mixing or route.folded or (route.coefficients is not None and route.per != "slot"):
            raise AdapterError(
                f"a route with coefficients per {route.per}{', mixing' if route.mixing else ''}"
                f"{', folded' if route.folded else ''} is no row of coefficients per sample; run its samples alone"
            )
        own = torch.ones(len(route.slots)) if route.coefficients is None else route.coefficients.detach().float().cpu()
        coefficients[row, [slots.index(name) for name in route.slots]] = own
    return Route(slots, coefficients.to(device), "sample")


def _equal(one: Tensor | None, two: Tensor | None) -> bool:
    if one is None or two is None:
        return one is two
    return one.device == two.device and torch.equal(one, two)
