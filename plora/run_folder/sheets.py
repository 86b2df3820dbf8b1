"""Sheets of example images and of the worst confusions, beside the record; for readers: nothing else reads them."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plora import atomic
from plora.build import Parts
from plora.results import ClassRankings, Measurements
from plora.results.record.sheet import CONFUSIONS, EXAMPLES, Pixels, SheetRow, draw_sheet, sheet_name
from plora.results.record.thinning import spread_over
from plora.run_folder.folder import RunFolder

CLASSES = 10
"""Rows of a sheet; of more classes that many, evenly spread."""
PAIRS = 8
"""Rows of the sheet of confusions."""
APIECE = 8
"""Images of a row."""


def write_sheets(
    parts: Parts, folder: RunFolder, number: int, stage: Sequence[str], rows: Mapping[str, Measurements]
) -> None:
    """Write what a person may want to see after a stage; nothing where inputs are no images, or answers no classes.

    Args:
        parts: of the run.
        folder: of the run.
        number: tasks learned by now.
        stage: names of the tasks learned last.
        rows: what was measured of each task.
    """
    measured = {task: found for task, found in rows.items() if isinstance(found, ClassRankings)}
    newest = {task: measured[task] for task in stage if task in measured}
    classes = [(task, label) for task, found in newest.items() for label in np.unique(found.label).tolist()]
    chosen = [classes[at] for at in spread_over(len(classes), CLASSES)]
    examples = [(task, np.flatnonzero(newest[task].label == label)) for task, label in chosen]
    _write(parts, folder, sheet_name(number), measured, [(task, found[:APIECE], None) for task, found in examples])
    pairs = Counter(
        (task, label, prediction)
        for task, found in measured.items()
        for label, prediction in np.stack([found.label, found.prediction], 1)[found.label != found.prediction].tolist()
    )
    worst = []
    for (task, label, prediction), count in sorted(pairs.items(), key=lambda pair: -pair[1])[:PAIRS]:
        found = measured[task]
        places = np.flatnonzero((found.label == label) & (found.prediction == prediction))
        worst.append((task, places[:APIECE], count))
    _write(parts, folder, CONFUSIONS, measured, worst)


def _write(
    parts: Parts,
    folder: RunFolder,
    name: str,
    measured: Mapping[str, ClassRankings],
    chosen: Sequence[tuple[str, NDArray[np.int64], int | None]],
) -> None:
    """Write one sheet, a row for each task, places among what was measured of it, and count."""
    splits = {task.name: dict(task.splits())[parts.config.evaluation.split] for task in parts.stream.tasks}
    rows, images = list[SheetRow](), list[Sequence[Pixels]]()
    for task, places, count in chosen:
        found = measured[task]
        seen = parts.model.problem.pictures(splits[task], found.example[places].astype(np.int64))
        if seen is None:
            return
        names, answers = found.class_names, zip(found.label[places], found.prediction[places], strict=True)
        taken_for = tuple(None if label == prediction else names[prediction] for label, prediction in answers)
        rows.append(SheetRow(names[found.label[places[0]]], taken_for, count))
        images.append(seen)
    if rows:
        atomic.write_bytes(folder.inside(EXAMPLES, name), draw_sheet(rows, images))
    elif folder.inside(EXAMPLES, name).exists():  # nothing is taken for another class any more
        folder.inside(EXAMPLES, name).unlink()
