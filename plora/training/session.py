"""One process working on one run: its parts, and where it writes."""

from dataclasses import dataclass

from plora.build import Parts
from plora.events.console import Console
from plora.events.tracking import Tracking
from plora.results import Point
from plora.run_folder.folder import RunFolder
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.training.meter import Meter


@dataclass
class Session:
    """One process working on one run: its parts and where it writes.

    Args:
        parts: of the run.
        folder: of the run, locked.
        console: where progress is shown.
        meter: what learning costs.
        inside: the checkpoint inside a task.
        tracking: who is told beside our own files.
    """

    parts: Parts
    folder: RunFolder
    console: Console
    meter: Meter
    inside: StepCheckpoint
    tracking: Tracking

    def log(self, point: Point) -> None:
        """Add a point to the learning curve, and tell trackers."""
        self.folder.append_curve(point)
        told = {"loss": point.loss, "learning_rate": point.learning_rate, **point.diagnostics}
        told |= {} if point.validation is None else {"validation": point.validation}
        told |= {f"loss/{name}": value for name, value in point.terms.items()}
        self.tracking.log(told, self.meter.all_steps)
