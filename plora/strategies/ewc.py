"""Elastic weight consolidation: what mattered to old tasks is held where it was."""

from collections.abc import Mapping

import torch
from torch import Tensor

from plora.errors import RunError
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.strategies.base import Strategy
from plora.strategies.fisher import fisher
from plora.strategies.settings import EWCSettings


def warn_of_overshoot(lesson: Lesson, name: str, curvature: float) -> None:
    """Warn where η κ ≥ 2: a step of plain gradient descent on κ/2 x² then ends at least as far on the other side of 0.

    Args:
        lesson: knows η and whom to tell.
        name: of the strategy, for people.
        curvature: κ, the largest of its penalty.
    """
    stiffness = lesson.learning_rate * curvature
    if stiffness >= 2:
        lesson.warn(
            f"{name}: learning rate × largest curvature of the penalty is {stiffness:.3g}; from 2 on gradient descent "
            "overshoots where it holds. AdamW divides by the gradient's size and stays bounded, but is then led by the "
            "penalty alone: try a smaller weight"
        )


class EWC(Strategy):
    """L = λ/2 Σ_anchors Σ_p F_p (θ_p − θ*_p)².

    θ are A and B of the one slot that all tasks train, and rows of the head that later tasks train too; F is the
    diagonal of the Fisher information of a task, θ* what it ended with (see `plora.strategies.fisher`). `single`
    keeps one anchor, the last θ*, and F ← γ F + F_t: with γ = 1 the sum of all (Huszár's correction), with γ < 1
    online EWC. `multi` keeps every task's own anchor, as Kirkpatrick wrote it; its cost grows with the tasks, and γ
    has no part in it. The best λ differs by orders of magnitude between estimators.

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796); Huszár 2017 (arXiv 1712.03847); Schwarz et al. 2018 (online
    EWC, arXiv 1805.06370), whose γ also multiplies the penalty, here only what is carried on.
    """

    settings: EWCSettings

    def __init__(self, settings: EWCSettings) -> None:
        super().__init__(settings)
        self._anchors: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []  # F, θ*

    def before_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Warn where a step of plain gradient descent would overshoot the anchors, whose F add up."""
        held: dict[str, Tensor] = {}
        trained = model.trainable()
        for fishers, _ in self._anchors:
            for name, F in fishers.items():
                if name in trained:
                    held[name] = held[name] + F if name in held else F
        largest = max((float(F.max()) for F in held.values()), default=0.0)
        warn_of_overshoot(lesson, "EWC", self.settings.weight * largest)

    def penalty(self, model: ContinualModel, at: Moment) -> dict[str, Tensor]:
        """Return `ewc`, from the second task on."""
        if not self._anchors or not self.settings.weight:
            return {}
        trained = model.trainable()
        apart = [
            (F * (trained[name] - anchor[name]).square()).sum()
            for fishers, anchor in self._anchors
            for name, F in fishers.items()
            if name in trained
        ]
        return {"ewc": self.settings.weight / 2 * torch.stack(apart).sum()} if apart else {}

    def after_task(self, model: ContinualModel, lesson: Lesson) -> None:
        """Measure what the task needs, and where it ended."""
        new = fisher(model, lesson, self.settings.estimator, self.settings.samples)
        anchor = {name: parameter.detach().clone() for name, parameter in model.trainable().items()}
        if self.settings.anchors == "single" and self._anchors:
            ((old, former),) = self._anchors
            for name, value in old.items():
                new[name] = new[name] + self.settings.decay * value if name in new else self.settings.decay * value
                anchor.setdefault(name, former[name])
            self._anchors = []
        self._anchors.append((new, anchor))

    def state(self) -> dict[str, Tensor]:
        """Return Fisher information and anchors."""
        state = {}
        for number, (fishers, anchor) in enumerate(self._anchors):
            for name, value in fishers.items():
                state[f"{number}/fisher/{name}"], state[f"{number}/anchor/{name}"] = value, anchor[name]
        return state

    def restore(self, state: Mapping[str, Tensor], model: ContinualModel) -> None:
        """Take them back."""
        found: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]] = {}
        for key, value in state.items():
            number, _, rest = key.partition("/")
            kind, _, name = rest.partition("/")
            if not number.isdecimal() or kind not in ("fisher", "anchor"):
                raise RunError(f"the stored state of EWC has an unknown tensor '{key}'")
            pair = found.setdefault(int(number), ({}, {}))
            pair[kind == "anchor"][name] = value.to(model.device)
        if any(fishers.keys() != anchor.keys() for fishers, anchor in found.values()):
            raise RunError("the stored state of EWC lacks an anchor or its Fisher information")
        self._anchors = [found[number] for number in sorted(found)]
