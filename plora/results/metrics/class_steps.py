"""How well old and new classes of pixels are known after each step in which some arrived."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.errors import RunError
from plora.results.record.found_runs import predictions_file
from plora.results.record.pixel_counts import PixelCounts, mean_of
from plora.results.record.run_record import RunRecord


@dataclass(frozen=True)
class ClassStep:
    """One step: means of the intersection over union, NaN where no such class occurs.

    Args:
        task: its name.
        classes: that it added.
        old: over the classes of earlier steps.
        new: over its own.
        all: over both.
    """

    task: str
    classes: tuple[str, ...]
    old: float
    new: float
    all: float


def class_steps(folder: Path, record: RunRecord) -> tuple[ClassStep, ...]:
    """Return what each step that was scored left of old and new classes.

    Pixels are those of the test images of all steps until then, together; what is of later classes is background. The
    background is one of the first step's classes, unless the score of the run, `foreground_iou`, leaves it out.

    Args:
        folder: of the run.
        record: of it.

    Raises:
        RunError: classes do not arrive in steps in this run, or its pixel counts are missing or not its own.
    """
    if record.scenario != "class" or record.score.name not in PixelCounts.scores:
        raise RunError(
            f"{folder} is {record.scenario}-incremental, and its cells are {record.score.title}: classes of pixels do "
            "not arrive in steps; name a run of problem 'semantic_segmentation' with scenario=class"
        )
    first = 1 if record.score.name == "foreground_iou" else 0
    ends = np.cumsum([0, *(data.classes for data in record.data)]).tolist()
    found = []
    for number, (task, status) in enumerate(zip(record.tasks, record.status, strict=True), start=1):
        if status != "evaluated":
            continue
        file = predictions_file(folder, record, number)
        if file is None:
            raise RunError(f"{folder} has no pixel counts of task '{task}'; restore its predictions, or run it again")
        counts = PixelCounts.read(file)
        ious = counts.rows(np.isin(counts.task, record.tasks[:number])).ious()
        before, end = ends[number - 1], ends[number]
        old, new, every = (
            mean_of(ious[max(start, first) : stop]) for start, stop in ((0, before), (before, end), (0, end))
        )
        found.append(ClassStep(task, counts.class_names[before:end], old, new, every))
    return tuple(found)
