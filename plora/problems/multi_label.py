"""Inputs with any number of labels each: a sigmoid for each label, and a threshold that validation chooses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from plora.backbones import Backbone, BackboneConfig
from plora.heads import Head, InUnits
from plora.problems.base import Batch, Columns, Examples
from plora.problems.class_balance import class_weights, focused, weights_by_name
from plora.problems.image_classification import ImageClassification
from plora.problems.settings import ClassificationLoss, MultiLabelSettings, ProblemSettings
from plora.problems.targeted import Numbers, TargetedExamples, TargetedProblem, own_scores
from plora.problems.text_classification import TextClassification
from plora.results import SCORES, LabelScores, Score


class MultiLabel(TargetedProblem):
    """Each label of a task is true of an input or not: − w_c (1 − p)^γ log p, p = σ(z_c) or 1 − σ(z_c).

    An example says something of the labels of its own task alone: those of other tasks have no part in its loss, and
    none in its scores. When a task is learned, each label gets the threshold with the largest F1 on the validation
    split, which becomes 0: a label is given where z ≥ 0.
    """

    score: Score = SCORES["macro_f1"]
    record = LabelScores
    loss_name = "binary_cross_entropy"
    loss: ClassificationLoss = ClassificationLoss()

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone, with score and loss of the settings."""
        found = super().around(settings, backbone, config, cache)
        assert isinstance(settings, MultiLabelSettings)
        found.loss = settings.loss
        return found

    def counts_of(self, targets: Numbers) -> Numbers:
        """Return 1, or by β how much more a label weighs that fewer examples have."""
        if not self.loss.beta:
            return np.ones(targets.shape[1])
        had = np.maximum(targets.sum(0), 1).astype(np.int64)
        return class_weights(had, self.loss.beta).astype(np.float64)

    def weighed(self, train: Examples, names: Sequence[str], first_row: int) -> Examples:
        """Return a training split in which labels weigh what settings say of them by name."""
        if not self.loss.class_weights:
            return train
        assert isinstance(train, TargetedExamples)
        return replace(train, counts=train.counts * weights_by_name(self.loss.class_weights, names))

    def loss_of(self, scores: Tensor, values: Tensor) -> Tensor:
        """Return (1 − p)^γ (−log p) of each label."""
        nats = F.binary_cross_entropy_with_logits(scores.float(), values.float(), reduction="none")
        return focused(nats, self.loss.gamma)

    def settled(self, head: Head, block: str, scores: Callable[[], Tensor], validation: Examples) -> None:
        """Choose the threshold of each label on the validation split, and count scores from it."""
        assert isinstance(head, InUnits)
        assert isinstance(validation, TargetedExamples)
        own, _ = own_scores(scores(), validation.targets(np.arange(len(validation))))
        truth = validation.values == 1
        chosen = [best_threshold(truth[:, label], own[:, label].numpy()) for label in range(truth.shape[1])]
        unit = head.units[block].clone()
        unit[2] += torch.tensor(chosen, dtype=torch.float64)
        head.units[block] = unit

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `label`, `truth` and `score` `[B, C]` of the labels of each example's task; label −1 where it has
        fewer than C."""
        own, there = own_scores(outputs["scores"].float().cpu(), batch.targets)
        places = batch.targets["first"][:, None] + torch.arange(there.shape[1])
        return {
            "label": torch.where(there, places, -1).numpy().astype(np.int32),
            "truth": (batch.targets["values"] == 1).numpy(),
            "score": own.numpy(),
        }

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> LabelScores:
        """Return the record of some examples."""
        there = columns["label"] != -1
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(there.sum(1), dtype=np.int64)])
        flat = {name: column[there] for name, column in columns.items()}
        return LabelScores(task, example, starts, **flat, class_names=names)

    def told(
        self, scores: Tensor, visible: NDArray[np.bool_], names: Sequence[str], top: int
    ) -> list[list[tuple[str, float]]]:
        """Return the labels that each input is given, the likeliest first, with their probabilities; maybe none.

        A probability is counted from the threshold: it is at least a half.
        """
        shown = np.flatnonzero(visible)
        found = []
        for own in scores[:, torch.from_numpy(shown)].double():
            order = [at for at in own.argsort(descending=True, stable=True).tolist() if own[at] >= 0]
            found.append([(names[shown[at]], float(own[at].sigmoid())) for at in order])
        return found

    def cells(self, told: Sequence[tuple[str, float]]) -> dict[str, object]:
        """Return the labels and their probabilities, a list of each."""
        return {"predicted": [name for name, _ in told], "probability": [number for _, number in told]}


class MultiLabelTexts(MultiLabel, TextClassification):  # type: ignore[misc]  # examples with other targets
    """Texts, or pairs of texts, with any number of labels each."""


class MultiLabelImages(MultiLabel, ImageClassification):  # type: ignore[misc]  # examples with other targets
    """Images with any number of labels each."""


def best_threshold(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Return the threshold t with the largest F1 of the answers z ≥ t; 0 where no example has the label.

    Thresholds stand half-way between two scores that are neighbours, or below all. Of several with the same F1 it is
    the one nearest to 0.

    Args:
        truth: `[N]`.
        scores: z, `[N]`.
    """
    if not truth.any():
        return 0.0
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order].astype(np.float64)
    ends = np.flatnonzero(np.diff(sorted_scores, append=-np.inf) != 0)  # of each group of equal scores
    hits = np.cumsum(truth[order])[ends]
    f1 = 2 * hits / (ends + 1 + truth.sum())
    following = np.append(sorted_scores[ends[1:]], sorted_scores[-1] - 1)
    thresholds = (sorted_scores[ends] + following) / 2
    best = np.flatnonzero(f1 == f1.max())
    return float(thresholds[best[np.argmin(np.abs(thresholds[best]))]])
