"""Inputs with one or more numbers each: squared error of targets that are scaled by the training split."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.backbones import Backbone, BackboneConfig
from plora.errors import DataError
from plora.heads import Head, InUnits
from plora.problems.base import Batch, Columns, Examples
from plora.problems.image_classification import ImageClassification
from plora.problems.settings import ProblemSettings, RegressionSettings
from plora.problems.targeted import Numbers, TargetedExamples, TargetedProblem, own_scores
from plora.problems.text_classification import TextClassification
from plora.results import SCORES, PredictedNumbers, Score

_FARTHEST = 1e5
"""Most deviations between 0 and a mean: scores are fp32, whose steps are 6e-8 of a number."""


class Regression(TargetedProblem):
    """A number for each name of a task: ((z − y) / σ)², σ the standard deviation of the training split's targets.

    Rows of the head begin in the unit of the training split that opens them, z ← σ z + μ, so that all that is trained
    is of size 1, and every prediction is in the unit of the data.
    """

    score: Score = SCORES["mean_absolute_error"]
    record = PredictedNumbers
    loss_name = "squared_error"
    answered: ClassVar = "numbers"

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone; errors are in the unit of the settings."""
        found = super().around(settings, backbone, config, cache)
        assert isinstance(settings, RegressionSettings)
        if settings.score == "mean_absolute_error":
            found.score = replace(found.score, unit=settings.unit)
        return found

    def counts_of(self, targets: Numbers) -> Numbers:
        """Return 1 / σ²."""
        return deviations(targets) ** -2

    def loss_of(self, scores: Tensor, values: Tensor) -> Tensor:
        """Return (z − y)², fp64."""
        return (scores.double() - values.double()).square()

    def opened(self, head: Head, block: str, train: Examples) -> None:
        """Give new rows the unit of a training split."""
        assert isinstance(head, InUnits)
        assert isinstance(train, TargetedExamples)
        unit, means, scales = head.units[block].clone(), train.values.mean(0), deviations(train.values)
        if (far := np.flatnonzero((np.abs(means) > _FARTHEST * scales) & (np.ptp(train.values, 0) > 0))).size:
            mean, scale = means[far[0]], scales[far[0]]
            raise DataError(
                f"task '{block}': targets lie {scale:g} around {mean:g}, which fp32 cannot tell apart; subtract what "
                "they have in common"
            )
        unit[0], unit[1] = torch.from_numpy(scales), torch.from_numpy(means)
        head.units[block] = unit

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `target` and `prediction` `[B, C]`; NaN where a task has fewer than C."""
        own, there = own_scores(outputs["scores"].cpu(), batch.targets)
        return {
            "target": batch.targets["values"].numpy(),
            "prediction": own.double().masked_fill(~there, torch.nan).numpy(),
        }

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> PredictedNumbers:
        """Return the record of some examples."""
        there = ~np.isnan(columns["target"])
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(there.sum(1), dtype=np.int64)])
        flat = {name: column[there] for name, column in columns.items()}
        return PredictedNumbers(task, example, starts, **flat)  # type: ignore[arg-type]

    def told(
        self, scores: Tensor, visible: NDArray[np.bool_], names: Sequence[str], top: int
    ) -> list[list[tuple[str, float]]]:
        """Return every number of each input with its name, in the unit of the data."""
        shown = np.flatnonzero(visible)
        rows = [names[row] for row in shown.tolist()]
        return [list(zip(rows, own, strict=True)) for own in scores[:, torch.from_numpy(shown)].tolist()]

    def cells(self, told: Sequence[tuple[str, float]]) -> dict[str, object]:
        """Return the number, or of several one by its name each."""
        if len(told) == 1:
            return {"predicted": told[0][1]}
        return {f"predicted {name}": number for name, number in told}


class TextRegression(Regression, TextClassification):  # type: ignore[misc]  # examples with other targets
    """Texts, or pairs of texts, with one or more numbers each."""


class ImageRegression(Regression, ImageClassification):  # type: ignore[misc]  # examples with other targets
    """Images with one or more numbers each."""


def deviations(targets: Numbers) -> Numbers:
    """Return the standard deviation σ of each number, `[C]`; 1 where all are the same."""
    differ = np.ptp(targets, 0) > 0  # the deviation of equal numbers may be a rounding error
    return np.where(differ, targets.std(0), 1.0)
