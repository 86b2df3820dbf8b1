"""Each input decides how much each slot contributes; a new slot is silent on what older tasks gave (GainLoRA)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from plora.adapters import Directions, Route
from plora.errors import RunError
from plora.gates.base import ReadingGate, Trial, Verdict
from plora.gates.settings import GainSettings, GateSettings
from plora.moment import Moment
from plora.projection_memory import ROUNDING, ProjectionMemory

START = 0.99
"""f of the root mean square of b over a new task's inputs: nearly all of them open its slot nearly wholly."""
_AT_ONCE = 4096
_SLOT = "gate of "


class Gain(ReadingGate):
    """g_k(x) = f(v_kᵀ φ(x)), f(b) = |2σ(b) − 1|, φ(x) `[d]` the mean over depths of the bare backbone's features of x.

    While task t trains v_t = P w_t / s: w_t `[d]` trains with its slot, and P = I − M Mᵀ leaves out what span(M)
    holds, the share ε of the energy of every older task's φ. So an older input has v_tᵀ φ(x) ≈ 0 and the new slot
    f(0) = 0, whatever w_t learns. s is the root mean square of u₁ᵀ φ over the task's inputs, u₁ the strongest direction
    of P φ, along which w_t starts: the free part of φ may be small, and the gate of a new task starts nearly open all
    the same. When the slot is committed v_t stays as it is, and M grows.

    Where older tasks span all that a new one has, its slot would be silent on every input: it goes.

    Source: Liang and Li 2025 (arXiv 2505.15424), with one bias-free linear map in the place of its three layers, and M
    taken out of the weight rather than out of its gradient: no optimizer can move it back.
    """

    settings: GainSettings

    def __init__(self, settings: GateSettings | None = None) -> None:
        super().__init__(settings or GainSettings())
        self.weight: nn.Parameter | None = None
        self._reset()

    def _reset(self) -> None:
        """Know no task."""
        self.weight = None
        self._open: str | None = None  # whose weight that is
        self._size: float | None = None  # s; None until it has seen the task, 0 where P leaves nothing
        self._vectors: dict[str, Tensor] = {}  # of committed slots, [d]
        self._memory: ProjectionMemory | None = None
        self._free = torch.empty(0, 0)  # an orthonormal basis of what P leaves, [d, n] fp64
        self._share = 1.0  # of the energy of the newest task's features that P leaves

    def route(self, slots: Sequence[str], task: str | None, at: Moment | None = None) -> Route:
        """Return the route through all slots; the model puts the coefficients of each input in."""
        return Route(tuple(slots))

    def opened(self, slot: str) -> None:
        """Make the weight of its gate; `learn` says where it starts."""
        self._close()
        self.weight, self._open, self._size = nn.Parameter(torch.zeros(self.width)), slot, None

    def deleted(self, slot: str) -> None:
        """Forget the slot's gate."""
        self._vectors.pop(slot, None)
        if slot == self._open:
            self.weight = self._open = None

    @torch.no_grad()
    def learn(self, position: int, features: Tensor, rows: Tensor) -> None:
        """Design the gate of the slot that was opened, then remember what the task's features span."""
        gram = torch.zeros(features.shape[-1], features.shape[-1], dtype=torch.double)
        for part in torch.split(features, _AT_ONCE):
            read = _read(part).cpu()
            gram += read.T @ read
        memory = self._memory or ProjectionMemory.empty(len(gram))
        energies, self._free = memory.unremembered(gram)
        total = float(gram.trace())
        self._share = float(energies.sum()) / total
        reached = len(energies) > 0 and float(energies[0]) > ROUNDING * total
        self._size = float(energies[0] / len(features)) ** 0.5 if reached else 0.0
        if self.weight is not None and reached:
            self.weight.copy_(2 * torch.atanh(torch.tensor(START)) * self._free[:, 0])
        self._memory = memory.grown(gram, self.settings.remember)

    def weigh(self, bare: Tensor, slots: Sequence[str]) -> Tensor:
        """Return g `[B, slots]`, each in [0, 1]."""
        vectors = torch.stack([self._vector(slot).to(bare.device) for slot in slots], 1)
        # f(b) = |tanh(b / 2)|. In fp64: free parts may be small beside what cancels, and batches may have any size.
        return (_read(bare) @ vectors.double() / 2).tanh().abs().float()

    def diagnostics(self) -> dict[str, float]:
        """Return which share of the energy of the newest task's features its gate can read."""
        return {"gate_free": self._share}

    @torch.no_grad()
    def commit(self, slot: str, norms: Directions, trial: Trial) -> Verdict:
        """Close the slot's gate; it goes where it is silent on every input."""
        self._close()
        silent = not self._vector(slot).any()
        reason = "older tasks span all that its gate could read"
        return Verdict(drop=True, reason=reason) if silent else Verdict()

    def state(self) -> dict[str, Tensor]:
        """Return v of each slot, and the memory's basis by its form."""
        found = {f"{_SLOT}{slot}": self._vector(slot).detach() for slot in self._slots}
        if self._memory is not None:
            found["complement" if self._memory.complement else "memory"] = self._memory.basis
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take it back; no gate of it trains.

        Raises:
            RunError: the memory is missing, or a tensor is none of a gate of this width.
        """
        self._reset()
        if not state:
            return
        forms = [form for form in ("memory", "complement") if form in state]
        if len(forms) != 1:
            raise RunError(f"the stored gate has {len(forms)} memories of what older tasks span; expected 1")
        for name, tensor in state.items():
            expected = 2 if name in forms else 1
            if tensor.dim() != expected or len(tensor) != self.width or not (name in forms or name.startswith(_SLOT)):
                raise RunError(
                    f"the stored gate has '{name}' of shape {list(tensor.shape)}; expected a memory or the gate of a "
                    f"slot, over {self.width} features"
                )
        self._memory = ProjectionMemory(state[forms[0]], forms[0] == "complement")
        self._vectors = {name.removeprefix(_SLOT): v for name, v in state.items() if name.startswith(_SLOT)}

    @property
    def _slots(self) -> list[str]:
        return [*self._vectors] if self._open is None or self._size is None else [*self._vectors, self._open]

    def _vector(self, slot: str) -> Tensor:
        """Return v of a slot, `[d]` fp32."""
        if slot not in self._slots:
            known = ", ".join(self._slots) or "none"
            raise RunError(
                f"the gate has seen no inputs of '{slot}'; let it `learn` them while the slot is open (seen: {known})"
            )
        if slot != self._open:
            return self._vectors[slot]
        assert self.weight is not None
        if not self._size:
            return torch.zeros_like(self.weight)
        self._free = free = self._free.to(self.weight.device)
        return (free @ (free.T @ self.weight.double()) / self._size).float()

    def _close(self) -> None:
        """Let the gate that trains stay as it is; one that has seen nothing goes."""
        if self._open is not None and self._open in self._slots:
            self._vectors[self._open] = self._vector(self._open).detach()
        self.weight = self._open = None


def _read(bare: Tensor) -> Tensor:
    """φ `[B, d]` fp64 of bare features `[B, D, d]`."""
    return bare.double().mean(1)
