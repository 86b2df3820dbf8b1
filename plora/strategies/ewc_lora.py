"""Elastic weight consolidation of the update itself: a new slot stays out of the entries of ΔW that mattered."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from plora.errors import RunError
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies.base import Strategy
from plora.strategies.ewc import warn_of_overshoot
from plora.strategies.fisher import fisher_of_updates
from plora.strategies.settings import EWCLoRASettings

ITERATIONS = 20
"""Of the power method: from below, it is then within some percent of the largest eigenvalue."""


class EWCLoRA(Strategy):
    """L = λ/2 (Σ_layers Σ_oi w_oi (s B_t A_t)_oi² + Σ_p F_p (θ_p − θ*_p)²).

    w `[O, I]` is the running Fisher information of the entries of ΔW (w ← γ w + F_W after each task, see
    `plora.strategies.fisher.fisher_of_updates`); what is held is the new slot alone, for older ones are committed.
    Unlike the Fisher information of A and B, w and the term are the same for (B M, M⁻¹ A) as for (B, A). θ are rows of
    the head that later tasks train too, held as EWC holds them. w takes O · I numbers per layer, as much as the
    adapted weights themselves. The best λ differs by orders of magnitude between networks and estimators.

    Source: EWC-LoRA (arXiv 2602.17559), with λ = 1e7 and γ = 1.
    """

    settings: EWCLoRASettings

    def __init__(self, settings: EWCLoRASettings) -> None:
        super().__init__(settings)
        self._fisher: dict[str, Tensor] = {}  # w by layer, F by parameter of the head
        self._anchor: dict[str, Tensor] = {}  # θ*

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Warn where a step of plain gradient descent would overshoot, with A as the new slot starts.

        At B = 0 the term is quadratic in B alone, with curvature λ s² A diag(w_o) Aᵀ in what leads to output o. This
        says nothing of what comes later: as B grows, so does the curvature in A.
        """
        if not self._fisher or not self.settings.weight:
            return
        assert model.adapters is not None
        trained, open_name = model.trainable(), model.adapters.open_name
        apart = [float(self._fisher[name].max()) for name in self._anchor if name in trained]
        if open_name is not None:
            apart += [
                bank.open_shape.scale**2 * _largest_curvature(self._fisher[path], bank.rows(open_name)[0].detach())
                for path, bank in model.adapters.banks.items()
            ]
        warn_of_overshoot(lesson, "EWC-LoRA", self.settings.weight * max(apart, default=0.0))

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        """Return `ewc_lora`, from the second task on."""
        if not self._fisher or not self.settings.weight:
            return {}
        assert model.adapters is not None
        trained, open_name = model.trainable(), model.adapters.open_name
        apart = [
            (self._fisher[name] * (trained[name] - anchor).square()).sum()
            for name, anchor in self._anchor.items()
            if name in trained
        ]
        if open_name is not None:
            deltas = model.adapters[open_name].delta()
            apart += [(self._fisher[path] * delta.square()).sum() for path, delta in deltas.items()]
        return {"ewc_lora": self.settings.weight / 2 * torch.stack(apart).sum()} if apart else {}

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Measure what the task needs, and where the head ended."""
        new = fisher_of_updates(model, lesson, self.settings.estimator, self.settings.samples)
        self._anchor |= {name: p.detach().clone() for name, p in model.trainable().items() if name in new}
        old = {name: self.settings.decay * value for name, value in self._fisher.items()}
        self._fisher = old | {name: old[name] + value if name in old else value for name, value in new.items()}

    def state(self) -> dict[str, Tensor]:
        """Return Fisher information, and the anchors of the head."""
        return {
            **{f"fisher/{name}": value for name, value in self._fisher.items()},
            **{f"anchor/{name}": value for name, value in self._anchor.items()},
        }

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take them back."""
        found: dict[str, dict[str, Tensor]] = {"fisher": {}, "anchor": {}}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind not in found:
                raise RunError(f"the stored state of EWC-LoRA has an unknown tensor '{key}'")
            found[kind][name] = value.to(model.device)
        expected = {*found["anchor"], *(model.adapters.banks if model.adapters and state else ())}
        if found["fisher"].keys() != expected:
            raise RunError("the stored state of EWC-LoRA lacks an anchor or the Fisher information of a layer")
        self._fisher, self._anchor = found["fisher"], found["anchor"]


def _largest_curvature(w: Tensor, A: Tensor) -> float:
    """Return max_o λ_max(A diag(w_o) Aᵀ): the power method for all o at once, which needs no `[O, r, I]`.

    Args:
        w: `[O, I]`, ≥ 0.
        A: `[r, I]`.
    """
    v = F.one_hot((w @ A.square().T).argmax(1), len(A)).to(A)  # the largest diagonal entry: it can only grow
    for _ in range(ITERATIONS):
        v = F.normalize((w * (v @ A)) @ A.T, dim=1, eps=torch.finfo(A.dtype).tiny)
    return float((w * (v @ A).square()).sum(1).max())
