"""A stranger: a noisy, pruning, trainable gate that lives outside of plora."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from plora.adapters import Route
from plora.errors import RunError
from plora.gates import Gate, GateSettings, Trial, Verdict
from plora.moment import Moment


class NoisyGateSettings(GateSettings):
    """Of `NoisyGate`."""

    part = "noisy_gate:NoisyGate"
    needs_task = False
    constant = False

    kind: Literal["noisy_gate:NoisyGateSettings"] = "noisy_gate:NoisyGateSettings"
    per: Literal["slot", "layer", "site"] = "slot"
    """What has a logit of its own for each slot: the whole network, a layer, or a site."""
    noise: float = Field(default=0.5, ge=0)
    """Standard deviation of what is added to the logits while a task trains."""
    temperature: tuple[float, float] = (2.0, 1.0)
    """At the start of a phase and at its end; evaluation has the second."""
    weight: float = Field(default=0.01, ge=0)
    """Of the penalty: λ · mean square of the logits."""
    worth: float | None = None
    """A new slot goes unless validation is better with it by more than this; None keeps all."""
    largest: float | None = Field(default=None, gt=0)
    """Norm of ΔW of a layer above which the new slot is scaled down when it is committed."""


class NoisyGate(Gate):
    """c = softmax((ℓ + σ ε) / T) with ε ~ N(0, 1) from the moment's seed and T a function of its share."""

    settings: NoisyGateSettings

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings or NoisyGateSettings())
        self.logits = nn.ParameterDict()

    def opened(self, slot: str) -> None:
        """Make the slot's logit, one, or one per layer or site."""
        self.logits[f"of {slot}".replace(".", "·")] = nn.Parameter(torch.zeros(self._number()))

    def _number(self) -> int:
        """Logits of a slot, which the network decides."""
        return {"slot": 1, "layer": self.layers, "site": self.sites}[self.settings.per]

    def deleted(self, slot: str) -> None:
        """Forget the slot's logit."""
        del self.logits[f"of {slot}".replace(".", "·")]

    def _logits(self, slots: Sequence[str]) -> Tensor:
        """Return `[logits, slots]`; 0 for a slot that was never opened here."""
        none = torch.zeros(self._number())
        names = [f"of {slot}".replace(".", "·") for slot in slots]
        return torch.stack([self.logits.get(name, none) for name in names], 1)

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return all slots; coefficients `[slots]`, `[layers, slots]` or `[sites, slots]`."""
        if not slots:
            return Route()
        logits, (start, end) = self._logits(slots), self.settings.temperature
        temperature = end
        if at is not None:
            drawn = torch.randn(logits.shape, generator=torch.Generator().manual_seed(at.seed))
            logits = logits + self.settings.noise * drawn.to(logits)
            temperature = start + (end - start) * at.share
        c = (logits / temperature).softmax(1)
        return Route(tuple(slots), c[0]) if self.settings.per == "slot" else Route(tuple(slots), c, self.settings.per)

    def penalty(self, route: Route, at: Moment) -> dict[str, Tensor]:
        """Return λ · mean ℓ²."""
        return {"gate_size": self.settings.weight * torch.cat([*self.logits.values()]).square().mean()}

    def diagnostics(self) -> dict[str, float]:
        """Return the largest logit."""
        sizes = [float(logit.detach().abs().max()) for logit in self.logits.values()]
        return {"gate_largest": max(sizes)} if sizes else {}

    def commit(self, slot: str, norms: Mapping[str, float], trial: Trial) -> Verdict:
        """Drop the new slot where validation does not need it; else scale down what is too large."""
        slots = [name.removeprefix("of ").replace("·", ".") for name in self.logits]
        if self.settings.worth is not None:
            others = [name for name in slots if name != slot]
            gain = trial(self.route(slots, None)) - trial(self.route(others, None))
            if gain <= self.settings.worth:
                return Verdict(drop=True, reason=f"validation gains {gain:.3f} by it, {self.settings.worth:g} wanted")
        if self.settings.largest is None:
            return Verdict()
        rescale = {p: self.settings.largest / norm for p, norm in norms.items() if norm > self.settings.largest}
        return Verdict(rescale, reason=f"{len(rescale)} layers scaled down" if rescale else "")

    def state(self) -> dict[str, Tensor]:
        """Return the logits by slot."""
        return {name: logit.detach() for name, logit in self.logits.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take logits back."""
        for name, logit in state.items():
            if logit.shape != (self._number(),):
                raise RunError(f"the logit '{name}' has the shape {list(logit.shape)}")
        self.logits = nn.ParameterDict({name: nn.Parameter(logit.clone()) for name, logit in state.items()})
