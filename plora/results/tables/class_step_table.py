"""How well old and new classes of pixels are known after each step, a row per step."""

from pathlib import Path

from plora.results.metrics.class_steps import class_steps
from plora.results.record.run_record import RunRecord
from plora.results.record.score import SCORES
from plora.results.tables.folding import FOLD, shown
from plora.results.tables.one_line import shorten
from plora.results.tables.rendered import Format, rendered
from plora.results.tables.table import Table


def class_steps_table(folder: Path, record: RunRecord, format: Format = "markdown", standalone: bool = False) -> str:
    """Return a row per step of classes: the mean IoU of old classes, of new ones, and of both; see `class_steps`.

    Of more than 40 steps the first and the last have rows; CSV has all.

    Args:
        folder: of one run, which may be unfinished.
        record: of it.
        format: `markdown`, `csv` or `latex`.
        standalone: LaTeX as a whole document.

    Raises:
        RunError: as `class_steps`.
    """
    return rendered(table_of_class_steps(folder, record), format, standalone)


def table_of_class_steps(folder: Path, record: RunRecord) -> Table:
    """Return the table before it has a format, see `class_steps_table`."""
    score, steps = SCORES["mean_iou"], class_steps(folder, record)
    rows = [
        [shorten(step.task, 24), str(len(step.classes)), *map(score.text, (step.old, step.new, step.all))]
        for step in steps
    ]
    kept = shown(len(rows))
    heads = ["task", "classes", "old %", "new %", "all %"]
    folded = [rows[at] for at in kept]
    what = "foreground" if record.score.name == "foreground_iou" else "mean"
    notes = [
        f"{what} IoU of earlier steps' classes, of the step's, and of both, in the test images of all steps so far"
    ]
    if len(kept) < len(rows):
        folded.insert(len(kept) // 2, [FOLD] * len(heads))
        notes.append(
            f"{FOLD} {len(rows) - len(kept):,} more tasks; CSV has all (plora table --kind steps --format csv)"
        )
    return Table(
        f"Old and new classes after each step: {record.method}, seed {record.seed}.",
        heads,
        folded,
        ["task", "classes", "old", "new", "all"],
        [[step.task, ", ".join(step.classes), step.old, step.new, step.all] for step in steps],
        notes,
    )
