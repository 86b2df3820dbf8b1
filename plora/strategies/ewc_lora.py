"""Elastic weight consolidation of the update itself: a new slot stays out of the entries of ΔW that mattered."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PrivateAttr
from torch import Tensor

from plora.errors import RunError
from plora.model import ContinualModel
from plora.strategies.base import SHARES_NOTHING, Lesson, Progress, Strategy
from plora.strategies.ewc import warn_of_overshoot
from plora.strategies.fisher import Estimator, fisher_of_updates

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

    kind: Literal["ewc_lora"] = "ewc_lora"
    weight: float = Field(default=1e7, ge=0)
    """λ."""
    estimator: Estimator = "exact"
    """Of the Fisher information: `exact`, `sample`, `empirical`, or for comparison `batched`."""
    samples: int = Field(default=500, ge=1)
    """Training examples that it is estimated from, balanced over the classes."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """γ: how much of the older tasks' information is kept when a task is added."""

    _fisher: dict[str, Tensor] = PrivateAttr(default_factory=dict)  # w by layer, F by parameter of the head
    _anchor: dict[str, Tensor] = PrivateAttr(default_factory=dict)  # θ*

    @property
    def reads_scores(self) -> bool:
        """It does."""
        return True

    @classmethod
    def refusal(cls, slots: str, isolated: bool) -> str | None:
        """Refuse what has no new slot beside older ones."""
        if slots != "per_task":
            return "it holds a task's new slot back where older ones mattered, and there is one at most"
        return SHARES_NOTHING if isolated else None

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Warn where a step of plain gradient descent would overshoot, with A as the new slot starts.

        At B = 0 the term is quadratic in B alone, with curvature λ s² A diag(w_o) Aᵀ in what leads to output o. This
        says nothing of what comes later: as B grows, so does the curvature in A.
        """
        if not self._fisher or not self.weight:
            return
        assert model.adapters is not None
        trained, open_name = model.trainable(), model.adapters.open_name
        apart = [float(self._fisher[name].max()) for name in self._anchor if name in trained]
        if open_name is not None:
            apart += [
                bank.open_shape.scale**2 * _largest_curvature(self._fisher[path], bank.rows(open_name)[0].detach())
                for path, bank in model.adapters.banks.items()
            ]
        warn_of_overshoot(lesson, "EWC-LoRA", self.weight * max(apart, default=0.0))

    def penalty(self, model: ContinualModel, progress: Progress) -> dict[str, Tensor]:
        """Return `ewc_lora`, from the second task on."""
        if not self._fisher or not self.weight:
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
        return {"ewc_lora": self.weight / 2 * torch.stack(apart).sum()} if apart else {}

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Measure what the task needs, and where the head ended."""
        new = fisher_of_updates(model, lesson, self.estimator, self.samples)
        self._anchor |= {name: p.detach().clone() for name, p in model.trainable().items() if name in new}
        old = {name: self.decay * value for name, value in self._fisher.items()}
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
