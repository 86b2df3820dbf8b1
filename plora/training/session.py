"""One process that trains: what, what that costs, and where it is told and kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from plora.build import Parts
from plora.events.console import Console, Field
from plora.events.tracking import Tracking
from plora.results import Point
from plora.run_folder.folder import RunFolder
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.training.meter import Meter


@dataclass
class Training:
    """One process that trains a model, and leaves nothing but what that has learned.

    Args:
        parts: what the model is, and how it is trained.
        console: where progress is shown.
        meter: what learning costs.
    """

    parts: Parts
    console: Console
    meter: Meter

    def log(self, point: Point, step: int, total: int) -> None:
        """Say how a phase goes, after `step` of its `total` steps."""
        self.console.progress(
            f"train {point.task}",
            step,
            total,
            self.meter.seconds_left(),
            loss=point.loss,
            **terms_of(point.terms),
            **temperature_of(point.diagnostics),
            examples_per_second=point.examples_per_second,
        )

    def epoch_done(self, **fields: Field) -> None:
        """Say how an epoch went."""
        self.console.event("epoch_done", **fields)

    def due(self) -> bool:
        """Say whether it is time to keep where training stands."""
        return False

    def keep(self, tensors: Mapping[str, Tensor], **position: int | float | Mapping[str, float] | None) -> None:
        """Keep where training stands against a kill; see `StepCheckpoint.save`."""


def terms_of(terms: Mapping[str, float]) -> dict[str, float]:
    """Return what a loss is the sum of, as fields of a line; nothing where it is one term alone."""
    return {f"loss_{name}": value for name, value in terms.items()} if len(terms) > 1 else {}


def temperature_of(diagnostics: Mapping[str, float]) -> dict[str, float]:
    """Return τ of a gate that has one, as a field of a line."""
    return {"tau": diagnostics["gate_temperature"]} if "gate_temperature" in diagnostics else {}


@dataclass
class Session(Training):
    """One process working on one run: its parts and where it writes.

    Args:
        parts: of the run.
        console: where progress is shown.
        meter: what learning costs.
        folder: of the run, locked.
        inside: the checkpoint inside a task.
        tracking: who is told beside our own files.
    """

    folder: RunFolder
    inside: StepCheckpoint
    tracking: Tracking

    def log(self, point: Point, step: int, total: int) -> None:
        """Add a point to the learning curve, tell trackers, and say how it goes."""
        self.folder.append_curve(point)
        told = {"loss": point.loss, "learning_rate": point.learning_rate, **point.diagnostics}
        told |= {} if point.validation is None else {"validation": point.validation}
        told |= {f"loss/{name}": value for name, value in point.terms.items()}
        self.tracking.log(told, self.meter.all_steps)
        super().log(point, step, total)

    def due(self) -> bool:
        """Say whether it is time for a checkpoint inside the task."""
        return self.inside.due()

    def keep(self, tensors: Mapping[str, Tensor], **position: int | float | Mapping[str, float] | None) -> None:
        """Write the checkpoint inside the task."""
        self.inside.save(tensors, **position, curve_lines=self.folder.curve_lines())
