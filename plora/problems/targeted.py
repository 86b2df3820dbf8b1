"""Inputs with a target for each row of their task, as label sets and numbers have them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.backbones import Backbone, BackboneConfig
from plora.errors import RunError
from plora.problems.base import Batch, EncodedInputs, Indices, InputExamples, LabelledExamples, Problem
from plora.problems.settings import ProblemSettings
from plora.results import SCORES
from plora.streams.base import Split
from plora.streams.targeted import Targeted

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class TargetedExamples(InputExamples):
    """Inputs with a target for each row of their task.

    Args:
        inputs: N encoded inputs.
        loss: name of the loss that is a sum over targets.
        first: `[N]` the first row of the head that is of the example's task.
        values: `[N, C]` targets of that row and those after it; NaN where a task has fewer than C.
        counts: `[N, C]` how much each counts in the loss.
        fingerprint: sha256 of the split's content.
    """

    inputs: EncodedInputs
    loss: str
    first: Indices
    values: Numbers
    counts: Numbers
    fingerprint: str = ""
    rows: Indices = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return inputs and targets, and that the mean of the loss is over targets."""
        targets = self.targets(indices)
        weights = {self.loss: int((~np.isnan(self.values[indices])).sum())}
        return Batch(self.inputs.collate(indices, draw), targets, indices, weights)

    def targets(self, indices: Indices) -> dict[str, Tensor]:
        """Return `first` `[B]`, `values` and `counts` `[B, C]`."""
        return {name: torch.from_numpy(getattr(self, name)[indices]) for name in ("first", "values", "counts")}

    def answers(self) -> Numbers:
        """Return the targets that there are, one example after the other."""
        return self.values[~np.isnan(self.values)]

    def subset(self, indices: Indices) -> "TargetedExamples":
        """Return some of the examples."""
        own = (self.first[indices], self.values[indices], self.counts[indices])
        return TargetedExamples(self.inputs.subset(indices), self.loss, *own)

    def followed_by(self, others: "Sequence[TargetedExamples]") -> "TargetedExamples":
        """Return these examples and others, of tasks that may have more or fewer rows."""
        all_of_them = (self, *others)
        widest = max(one.values.shape[1] for one in all_of_them)
        values, counts = (
            np.concatenate([_widened(getattr(one, name), widest) for one in all_of_them])
            for name in ("values", "counts")
        )
        first = np.concatenate([one.first for one in all_of_them])
        inputs = self.inputs.followed_by([other.inputs for other in others])
        return TargetedExamples(inputs, self.loss, first, values, counts)

    def tensors(self) -> dict[str, Tensor]:
        """Return those of the inputs as `inputs/…`, and `first`, `values` and `counts`."""
        inputs = {f"inputs/{name}": tensor for name, tensor in self.inputs.tensors().items()}
        return {**inputs, **self.targets(np.arange(len(self.first)))}


def _widened(numbers: Numbers, columns: int) -> Numbers:
    return np.pad(numbers, ((0, 0), (0, columns - numbers.shape[1])), constant_values=np.nan)


def own_scores(scores: Tensor, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the scores of each example's own rows `[B, C]`, and which of these there are, `[B, C]` bool.

    Args:
        scores: `[B, rows]`.
        targets: of a batch; see `TargetedExamples.targets`.
    """
    there = ~targets["values"].isnan()
    places = targets["first"][:, None] + torch.arange(there.shape[1], device=there.device)
    return scores.gather(1, places.clamp(max=scores.shape[1] - 1)), there


class TargetedProblem(Problem):
    """A problem with a target for each row, over the inputs of a problem that classifies.

    Stands before the class of that problem among the bases of a class.

    Attributes:
        loss_name: of the loss, a sum over targets.
    """

    classifies: ClassVar[bool] = False
    fills_rows: ClassVar[bool] = True
    loss_name: ClassVar[str]

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone, with the score of the settings."""
        found = super().around(settings, backbone, config, cache)
        found.score = SCORES[settings.score]  # type: ignore[attr-defined]  # all settings of such problems have one
        return found

    def encode(self, split: Split, first_row: int = 0) -> TargetedExamples:
        """Return the inputs of a split and their targets; of new inputs, which have none, no target is known."""
        if not isinstance(split, Targeted):
            none = np.zeros((len(split), 0))
            return TargetedExamples(
                self._inputs(split), self.loss_name, np.zeros(len(split), np.int64), none, none, split.fingerprint()
            )
        first = np.full(len(split), first_row, np.int64)
        counts = np.broadcast_to(self.counts_of(split.targets), split.targets.shape)
        return TargetedExamples(
            self._inputs(split.inputs), self.loss_name, first, split.targets, counts.copy(), split.fingerprint()
        )

    @abstractmethod
    def counts_of(self, targets: Numbers) -> Numbers:
        """Return how much a target counts in the loss, `[C]` or `[N, C]`, from those of a split `[N, C]`."""

    def pictures(self, split: Split, indices: Indices) -> Sequence[NDArray[np.uint8]] | None:
        """Return some inputs as people look at them."""
        return super().pictures(split.inputs if isinstance(split, Targeted) else split, indices)

    def restored(self, tensors: Mapping[str, Tensor]) -> TargetedExamples:
        """Return inputs and targets that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or shape.
        """
        first, values, counts = (tensors.get(name) for name in ("first", "values", "counts"))
        if first is None or first.dtype != torch.int64 or first.dim() != 1:
            raise RunError("the stored examples have no 'first', one for each of them")
        for name, found in (("values", values), ("counts", counts)):
            if found is None or found.dtype != torch.float64 or found.dim() != 2 or len(found) != len(first):
                raise RunError(f"the stored examples have no '{name}' of type float64, a row for each of them")
        assert values is not None
        assert counts is not None
        if values.shape != counts.shape:
            raise RunError("the stored examples have 'values' and 'counts' of other shapes")
        kept = super().restored({**tensors, "rows": torch.zeros_like(first)})  # type: ignore[safe-super]
        inputs = cast(LabelledExamples, kept).inputs
        return TargetedExamples(inputs, self.loss_name, first.cpu().numpy(), values.cpu().numpy(), counts.cpu().numpy())

    def solved_for(self, examples: Any, first_row: int) -> Tensor:  # noqa: ANN401  (those that `encode` returns)
        """Return the targets, `[N, rows of the task]`."""
        return torch.from_numpy(examples.values)

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the loss, a sum over the targets that there are; rows of other tasks have no part in it."""
        scores, there = own_scores(outputs["scores"], batch.targets)
        values = batch.targets["values"].nan_to_num().to(scores.dtype)
        each = self.loss_of(scores, values) * batch.targets["counts"].nan_to_num()
        return {self.loss_name: (each * there).sum().float()}

    @abstractmethod
    def loss_of(self, scores: Tensor, values: Tensor) -> Tensor:
        """Return the loss of each target before it is weighed, `[B, C]`."""

    def _inputs(self, split: Split) -> EncodedInputs:
        return cast(LabelledExamples, super().encode(split)).inputs  # type: ignore[safe-super]
