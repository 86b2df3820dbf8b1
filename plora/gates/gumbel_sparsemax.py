"""A sparse share for each slot, learned beside the slots, with noise that lets shares of 0 return (Gumbel CL-LoRA)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from plora.adapters import Directions, Route
from plora.errors import RunError
from plora.gates.base import Gate, Trial, Verdict
from plora.gates.settings import GateSettings, GumbelSparsemaxSettings
from plora.gates.slot_numbers import SlotNumbers
from plora.gates.sparsemax import sparsemax
from plora.moment import Moment

_LEFT = 0.01
"""Of the way from the first temperature to the last, what `rho: auto` leaves at the end of a phase."""
_SURE = 1e-10
"""How near to 0 and 1 a uniform number may be: its noise is between −3.1 and 23."""
_EPS = 1e-12
"""Inside the logarithm of the entropy, where shares are exactly 0."""


class GumbelSparsemax(Gate):
    """c_k = β_k a_k, β = sparsemax((ℓ + g) / τ), with g = −log(−log u) and u ~ U(0, 1) from the moment's seed.

    ℓ and a are one number per slot, or one per layer; they train with every later task. While a task trains, τ falls as
    τ₁ + (τ₀ − τ₁) ρ^k. Evaluation has no noise, and slots whose share is 0 are not on its route, so they cost nothing.

    When a slot is committed, ΔW is divided by the mean c of its norms and a multiplied with it: the same function, and
    magnitudes that can be compared. If its share is too small for it to stay, and validation does not miss it, it goes.

    Source: document of Gumbel CL-LoRA (github.com/tanguy8001/RDS-2025); no paper.
    """

    settings: GumbelSparsemaxSettings
    temperature: Tensor
    counted: Tensor

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings or GumbelSparsemaxSettings())
        self.logits, self.magnitudes = SlotNumbers(), SlotNumbers()
        self._reset()

    def _reset(self) -> None:
        """Stand at the start of the schedule, with nothing counted."""
        where = next((p.device for p in self.parameters()), None)
        self.register_buffer("temperature", torch.tensor(self.settings.temperature[0], device=where))
        # Of the epoch that is going on: its task and number, its steps, and in how many of them the newest slot had 0.
        self.register_buffer("counted", torch.zeros(4, device=where))

    def opened(self, slot: str) -> None:
        """Make the slot's logit and magnitude, one each, or one per layer."""
        self.logits.opened(slot, self._count_of_each(), self.settings.start)
        if self.settings.magnitudes:
            self.magnitudes.opened(slot, self._count_of_each(), 1.0)

    def deleted(self, slot: str) -> None:
        """Forget the slot's logit and magnitude."""
        self.logits.deleted(slot)
        self.magnitudes.deleted(slot)

    def shares(self, slots: Sequence[str], at: Moment | None = None) -> Tensor:
        """Return β, `[1, slots]` or `[layers, slots]`.

        Args:
            slots: names; one that was never opened here has the logit that a new one starts with.
            at: where training stands; None evaluates.
        """
        logits = self._stacked(self.logits, slots, self.settings.start)
        if at is None:
            # In fp64, so that slots without a share leave the others the same bits, there or not: a sum over fewer
            # logits rounds otherwise, and a checkpoint that is read back holds no slot that the route does not need.
            return sparsemax(logits.double() / self._settled()).to(logits)
        # In fp64, because 1 − 1e-10 is 1 in fp32. Drawn on the CPU, so that a seed draws the same for any device.
        generator = torch.Generator().manual_seed(at.seed)
        uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64).clamp(_SURE, 1 - _SURE)
        noise = self.settings.noise * -torch.log(-torch.log(uniform))
        return sparsemax((logits + noise.to(logits)) / self._annealed(at))

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return all slots while a task trains; else those with a share, and the newest, which may be training."""
        if not slots:
            return Route()
        names, shares = tuple(slots), self.shares(slots, at)
        scale = (shares > 0).sum(1, keepdim=True) if self.settings.rescale_by_support else 1
        c = shares * scale * self._stacked(self.magnitudes, slots, 1.0)
        if at is None:
            active = (shares > 0).any(0)
            active[-1] = True
            if not active.all():
                names, c = tuple(name for name, on in zip(names, active.tolist(), strict=True) if on), c[:, active]
        return Route(names, c[0]) if self.settings.per == "slot" else Route(names, c, "layer")

    def penalty(self, route: Route, at: Moment) -> dict[str, Tensor]:
        """Return `gate_sparsity`: λ Ω(β), Ω = −Σ_k β_k log β_k of this step, mean over layers."""
        if not route.slots:
            return {}
        shares = self.shares(route.slots, at)
        self._count(shares.detach(), at)
        return {"gate_sparsity": self.settings.sparsity * _entropy(shares)} if self.settings.sparsity else {}

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """Return τ, slots with a share, the shares' entropy, and in how many of this epoch's steps the newest had 0."""
        slots = self.logits.slots
        if not slots:
            return {}
        shares, (_, _, steps, dead) = self.shares(slots), self.counted.tolist()
        return {
            "gate_temperature": float(self.temperature),
            "gate_active": float((shares > 0).any(0).sum()),
            "gate_entropy": float(_entropy(shares)),
            "gate_dead": dead / max(steps, 1),
        }

    @torch.no_grad()
    def vectors(self, slots: Sequence[str]) -> dict[str, Tensor]:
        """Return `share` β and, where slots have them, `magnitude` a, as evaluation has them.

        Args:
            slots: names, in the order of the entries.
        """
        if not slots:
            return {}
        found = {"share": self.shares(slots)}
        if self.settings.magnitudes:
            found["magnitude"] = self._stacked(self.magnitudes, slots, 1.0)
        return {name: vector[0] if self.settings.per == "slot" else vector for name, vector in found.items()}

    @torch.no_grad()
    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        """Drop the new slot where its share is too small and validation does not miss it; else make its norm 1."""
        slots = self.logits.slots
        shares = dict(zip(slots, self.shares(slots).mean(0).tolist(), strict=True))
        others = [name for name in slots if name != slot]
        said = f"its share is {shares[slot]:.4f}" + "".join(f", that of {name} {shares[name]:.4f}" for name in others)
        if others and (missed := self._misses(slot, shares)):
            said = f"{said}; {missed}"
            guard = self.settings.guard
            loss = 0.0 if guard is None else trial(self.route(slots, None)) - trial(self.route(others, None))
            if guard is None or loss <= guard:
                return Verdict(drop=True, reason=said)
            said = f"{said}; kept, for validation would lose {loss:.4f} by it, more than {guard:g}"
        # Places of other kinds have no ΔW that could be divided, and share the magnitude.
        if not self.settings.magnitudes or len(norms) != self.sites:
            return Verdict(reason=said)
        owners = norms.layers if self.settings.per == "layer" else [0] * self.sites
        return Verdict(self.magnitudes.take_up(slot, norms, owners), reason=said)

    def _misses(self, slot: str, shares: Mapping[str, float]) -> str:
        """What the share of the new slot misses to stay; empty where it has it."""
        share, growth, wanted = shares[slot], self.settings.growth, self.settings.threshold
        if growth == "relative":
            wanted /= len(shares)
        if growth in ("absolute", "relative"):
            return "" if share > wanted else f"more than {wanted:.4f} is wanted"
        if growth == "top_k":
            most = self.settings.most
            larger = sum(other >= share for name, other in shares.items() if name != slot)
            return "" if most is None or larger < most else f"it is not among the {most} largest"
        return ""

    def state(self) -> dict[str, Tensor]:
        """Return logits and magnitudes by slot, and τ; nothing before a slot was opened."""
        if not self.logits:
            return {}
        numbers = (*self.logits.state("logit"), *self.magnitudes.state("magnitude"))
        return {"temperature": self.temperature.clone(), **dict(numbers)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take logits, magnitudes and τ back."""
        self.logits = SlotNumbers.restored(state, "logit", self._count_of_each())
        self.magnitudes = SlotNumbers.restored(state, "magnitude", self._count_of_each())
        wanted = self.logits.keys() if self.settings.magnitudes else set()
        known = len(self.logits) + len(self.magnitudes) + bool(self.logits)
        without = state and state.get("temperature", torch.ones(1)).dim() > 0
        if self.magnitudes.keys() != wanted or len(state) != known or without:
            raise RunError(f"the parts of the stored gate do not fit each other: {', '.join(state)}; run it again")
        self._reset()
        if state:
            self.temperature = state["temperature"].clone()

    # ------------------------------------------------------------------ inner

    def _count_of_each(self) -> int:
        """Logits of a slot."""
        return 1 if self.settings.per == "slot" else self.layers

    def _stacked(self, numbers: SlotNumbers, slots: Sequence[str], new: float) -> Tensor:
        """`[1 or layers, slots]`; `new` for a slot without numbers."""
        return numbers.stacked(slots, self.temperature.new_full((self._count_of_each(),), new))

    def _annealed(self, at: Moment) -> float:
        """τ of a step."""
        first, last = self.settings.temperature
        done, of = (at.step, at.total) if self.settings.anneal == "step" else (at.epoch, at.epochs)
        rho = self.settings.rho
        left = _LEFT ** (done / max(of, 1)) if rho == "auto" else rho**done
        return float(last + (first - last) * left)

    def _settled(self) -> Tensor | float:
        """τ of an evaluation: that of the last step, of the schedule's end, or a number."""
        chosen = self.settings.evaluation_temperature
        if chosen == "reached":
            return self.temperature
        return self.settings.temperature[1] if chosen == "final" else chosen

    @torch.no_grad()
    def _count(self, shares: Tensor, at: Moment) -> None:
        """Keep τ, and count a step; buffers, so that a checkpoint inside a task has them."""
        self.temperature.fill_(self._annealed(at))
        if at.step == 0 or self.counted[:2].tolist() != [at.task, at.epoch]:
            self.counted.copy_(torch.tensor([at.task, at.epoch, 0, 0]))
        self.counted[2] += 1
        self.counted[3] += (shares[:, -1] == 0).float().mean()


def _entropy(shares: Tensor) -> Tensor:
    """−Σ_k β_k log β_k, mean over layers."""
    return -(shares * (shares + _EPS).log()).sum(1).mean()
