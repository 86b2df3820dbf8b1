"""How well each class is found among the pixels of each task."""

from collections.abc import Sequence

import numpy as np

from plora.results.record.pixel_counts import PixelCounts
from plora.results.tables.folding import FOLD, shown
from plora.results.tables.numbers import percent
from plora.results.tables.one_line import shorten
from plora.results.tables.table import Table


def table_of_ious(measured: PixelCounts, tasks: Sequence[str]) -> Table:
    """Return a row for each class, with its IoU among the images of each task and of all, and a row of their means.

        IoU_c = TP_c / (TP_c + FP_c + FN_c)

    Of more than 40 tasks the first and the last have columns.

    Args:
        measured: after one row of the matrix.
        tasks: those to show, in their order; tasks without images are left out.
    """
    seen = set(measured.task.tolist())
    names = [task for task in tasks if task in seen]
    kept = [names[at] for at in shown(len(names))]
    columns = [measured.of(task).ious() for task in kept]
    if len(names) > 1:
        columns.append(measured.ious())
    heads = ["class, IoU %", *(shorten(task, 24) for task in kept), *(["all"] if len(names) > 1 else [])]
    values = np.stack(columns, axis=1) if columns else np.empty((len(measured.class_names), 0))
    rows = [
        [shorten(name, 24), *map(percent, row)] for name, row in zip(measured.class_names, values.tolist(), strict=True)
    ]
    means = [float(np.nanmean(own)) if np.isfinite(own).any() else float("nan") for own in columns]
    notes = ["–: no pixel is of the class, and none was taken for it; the mean is of the others"]
    if len(kept) < len(names):
        notes.append(f"{FOLD} {len(names) - len(kept):,} more tasks are left out")
    return Table(
        "IoU of each class after the last task.",
        heads,
        [*rows, ["mean", *map(percent, means)]],
        ["class", *kept, *(["all"] if len(names) > 1 else [])],
        [[name, *row] for name, row in zip(measured.class_names, values.tolist(), strict=True)],
        notes,
    )
