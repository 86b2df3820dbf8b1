"""A magnitude for each slot that all later tasks go on training, while the slot's direction stays (SD-LoRA)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plora.adapters import Directions, Route
from plora.errors import RunError
from plora.gates.base import Gate, Trial, Verdict
from plora.gates.settings import GateSettings, MagnitudesSettings
from plora.gates.slot_numbers import SlotNumbers
from plora.moment import Moment


class Magnitudes(Gate):
    """c_k = a_k: y = W x + Σ_{k<t} a_k D_k x + a_t ΔW_t x, with D_k = ΔW_k / c, and all of a_1 … a_t train.

    The slot that trains is not divided: its ΔW is 0 when it is opened. When it is committed, a_t becomes c a_t and
    ΔW_t / c is kept: the same function, and magnitudes that can be compared. Where one magnitude is shared, c is the
    mean of ‖ΔW‖_F over the layers that share it, which so keep their proportions. A slot whose ΔW is 0 goes.

    With `absorb` a slot that is nearly a sum of older ones goes too, and their magnitudes take over what it did:

        γ = argmin ‖ΔW_t − Σ_k γ_k D_k‖_F,  ρ = ‖ΔW_t − Σ_k γ_k D_k‖_F / ‖ΔW_t‖_F,  and where ρ ≤ absorb
        a_k ← a_k + γ_k a_t

    over all layers that share the magnitudes, from products of r × r numbers. Random directions of so many dimensions
    are nearly orthogonal, and ρ is near 1: with the published 0.0009 a slot hardly ever goes.

    The published code divides each layer by its own norm, and not before the next slot is opened. With
    `keeps_function: false` it is so here: until then the layers' norms are coefficients, and evaluation sees the
    function that was trained. Then they go, and the function jumps.

    Source: SD-LoRA, and its variants RR and KD; Wu et al. 2025 (arXiv 2501.13198), github.com/WuYichen-97/SD-Lora-CL.
    """

    settings: MagnitudesSettings

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings or MagnitudesSettings())
        self.magnitudes = SlotNumbers()
        self._norms: dict[str, Tensor] = {}
        """`[sites]` of the newest slot, from its commit until the next one opens, where the function then jumps."""

    def opened(self, slot: str) -> None:
        """Make the slot's magnitudes; older ones start again where they are not carried."""
        self._norms = {}
        if not self.settings.carried:
            for numbers in self.magnitudes.values():
                numbers.data.fill_(self.settings.start)
        self.magnitudes.opened(slot, self._count_of_each(), self.settings.start)

    def deleted(self, slot: str) -> None:
        """Forget the slot's magnitudes."""
        self.magnitudes.deleted(slot)
        self._norms.pop(slot, None)

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return all slots, each with its magnitude."""
        if not slots:
            return Route()
        c = self._stacked(slots)
        if self._norms.keys() & set(slots):
            ones = torch.ones(self.sites)
            norms = torch.stack([self._norms.get(slot, ones) for slot in slots], 1)
            return Route(tuple(slots), c * norms.to(c), "site")
        return Route(tuple(slots), c[0]) if self.settings.per == "slot" else Route(tuple(slots), c, self.settings.per)

    @torch.no_grad()
    def vectors(self, slots: Sequence[str]) -> dict[str, Tensor]:
        """Return `magnitude`: a, `[slots]`, or of each layer or site `[…, slots]`."""
        if not slots:
            return {}
        a = self._stacked(slots)
        return {"magnitude": a[0] if self.settings.per == "slot" else a}

    @torch.no_grad()
    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        """Let the slot go where it is nothing, or nothing new; else divide it by its norm."""
        # Places of other kinds have no ΔW that could be divided or be a sum of others.
        low_rank, sizes = len(norms) == self.sites, dict(norms)
        if low_rank and not any(sizes.values()):
            return Verdict(drop=True, reason="its ΔW is 0")
        said = ""
        others = [name for name in self.magnitudes.slots if name != slot]
        if self.settings.absorb is not None and low_rank and others:
            share, rho = self._share_of_older(slot, others, norms)
            said = f"ρ = {rho:.4g} of its ΔW is no sum of older slots; "
            if rho <= self.settings.absorb:
                a = self.magnitudes.of(slot)
                for other, of_other in zip(others, share.to(a).unbind(1), strict=True):
                    self.magnitudes.of(other).add_(of_other * a)
                return Verdict(
                    drop=True, reason=f"{said}with at most {self.settings.absorb:g} their magnitudes take it over"
                )
        if self.settings.per == "slot" and not low_rank:
            return Verdict(reason=f"{said}places of other kinds share its magnitude, so it is not divided")
        if self.settings.divided_by == "factors":
            sizes = norms.of_factors()
        if self.settings.keeps_function:
            factors = self.magnitudes.take_up(slot, sizes, self._owners(norms))
        else:
            factors = {path: 1 / size for path, size in sizes.items() if size}
            # A slot that was taken back into training has lost norms before.
            self._norms = {slot: self._norms.get(slot, torch.ones(self.sites)).clone()}
            for site, size in zip(norms.sites, sizes.values(), strict=True):
                self._norms[slot][site] *= size or 1.0
        shown = ", ".join(f"{number:.4g}" for number in self.magnitudes.of(slot).tolist()[:4])
        return Verdict(factors, reason=f"{said}its magnitude is {shown}")

    def state(self) -> dict[str, Tensor]:
        """Return magnitudes by slot, and norms of the newest that its slot is still to lose."""
        return {
            **dict(self.magnitudes.state("magnitude")),
            **{f"norms {slot}": own for slot, own in self._norms.items()},
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take magnitudes and norms back."""
        self.magnitudes = SlotNumbers.restored(state, "magnitude", self._count_of_each())
        norms = {name.partition(" ")[2]: own.clone() for name, own in state.items() if name.startswith("norms ")}
        fits = norms.keys() <= {*self.magnitudes.slots} and all(own.shape == (self.sites,) for own in norms.values())
        if not fits or len(norms) > 1 or len(state) != len(self.magnitudes) + len(norms):
            raise RunError(f"the parts of the stored gate do not fit each other: {', '.join(state)}; run it again")
        self._norms = norms

    # ------------------------------------------------------------------ inner

    def _count_of_each(self) -> int:
        """Magnitudes of a slot."""
        return {"slot": 1, "layer": self.layers, "site": self.sites}[self.settings.per]

    def _stacked(self, slots: Sequence[str]) -> Tensor:
        """`[n, slots]`; a slot that was never opened here has what a new one starts with."""
        known = next(iter(self.magnitudes.values()), torch.empty(0))
        return self.magnitudes.stacked(slots, known.new_full((self._count_of_each(),), self.settings.start))

    def _owners(self, norms: Directions) -> tuple[int, ...]:
        """Which of a slot's magnitudes each bank has."""
        found = {"slot": (0,) * len(norms), "layer": norms.layers, "site": norms.sites}
        return found[self.settings.per]

    def _share_of_older(self, slot: str, others: Sequence[str], norms: Directions) -> tuple[Tensor, float]:
        """γ `[n, others]`, a least-squares solution for each set of layers that share magnitudes, and ρ of all."""
        gram = norms.gram((*others, slot))
        owners = torch.tensor(self._owners(norms), device=gram.device)
        shared = gram.new_zeros(self._count_of_each(), *gram.shape[1:]).index_add(0, owners, gram)
        old, across = shared[:, :-1, :-1], shared[:, :-1, -1]
        share = (torch.linalg.pinv(old, hermitian=True) @ across[..., None])[..., 0]
        whole = shared[:, -1, -1].sum()
        rest = whole - 2 * (share * across).sum() + torch.einsum("nk,nkl,nl->", share, old, share)
        return share, float((rest.clamp_min(0) / whole).sqrt())
