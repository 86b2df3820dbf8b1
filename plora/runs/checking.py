"""Score a run again, and check it file by file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.errors import RunError
from plora.results import (
    ClassRankings,
    generated_files,
    read_curves,
    read_generated,
    read_measurements,
    read_record,
)
from plora.run_folder.checkpoint import (
    check_files,
    read_manifest,
    require_checkpoints,
)
from plora.run_folder.folder import RunFolder
from plora.run_folder.recording import from_predictions
from plora.runs.loading import load_run


@dataclass(frozen=True)
class Rescored:
    """A run scored again.

    Args:
        tasks: names of the tasks that the run has learned.
        accuracy: of each, now.
        recorded: of each, in the record.
        changed: predictions that differ from the record, over all tasks.
    """

    tasks: list[str]
    accuracy: list[float]
    recorded: list[float]
    changed: int


def evaluate(path: Path) -> Rescored:
    """Load a run's last checkpoint, score the test splits again, and compare with the record."""
    folder = RunFolder.existing(path)
    require_checkpoints(folder, read_record(path))
    parts, folder, seen = load_run(path)
    if not seen:
        raise RunError(f"{path} has forgotten every task it learned; there is nothing to score")
    scorer, number = parts.scorer(), folder.last_checkpoint()
    recorded = ClassRankings.read(folder.predictions(number))
    scores = {task.name: scorer.seen(task, seen) for task in parts.tasks if task.name in seen}
    changed = sum(
        int((recorded.prediction[recorded.task == name] != result.predictions).sum()) for name, result in scores.items()
    )
    row = read_record(path).matrix[number]
    columns = [task.name for task in parts.tasks]
    return Rescored(
        list(scores),
        [result.accuracy for result in scores.values()],
        [float(row[columns.index(name)]) for name in scores],
        changed,
    )


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Args:
        files: files of checkpoints whose sha256 is as in their manifest.
        checkpoints: complete checkpoints.
        examples: those that were scored, predicted again.
        problems: one line each; empty when the run is sound.
    """

    files: int
    checkpoints: int
    examples: int
    problems: tuple[str, ...]


def verify(path: Path) -> Verified:
    """Check a run: every file against its hash, the matrix against the predictions, the predictions against the model.

    `curves.jsonl` and `generated/` have no hash; that each of their lines can be read is checked.

    Raises:
        RunError: the run cannot be read at all.
    """
    folder = RunFolder.existing(path)
    problems: list[str] = []
    record, numbers = read_record(path), folder.complete()
    learning = folder.read_environment()["stream"]
    assert isinstance(learning, dict)
    if list(learning["splits"]) != list(record.tasks):
        raise RunError(f"{path} was cut while it learned a task more; `plora resume {path}` first")
    try:
        require_checkpoints(folder, record)
    except RunError as error:
        problems.append(str(error))
    checked: set[str] = set()
    for number in numbers:
        try:
            manifest = read_manifest(folder, number)
            check_files(folder, number, manifest)
            checked |= manifest.files.keys()
        except RunError as error:
            problems.append(str(error))
    for number in range(len(record.matrix)):
        if np.isnan(record.matrix[number]).all():
            continue
        try:
            row = read_measurements(folder.predictions(number)).cells(record.tasks, record.score)
        except RunError as error:
            problems.append(str(error))
            continue
        if not np.array_equal(row, record.matrix[number], equal_nan=True):
            problems.append(f"{folder.predictions(number)} does not give row {number} of the matrix in results.json")
    examples = 0
    readable: list[tuple[Path, Callable[[Path], object]]] = [(file, read_generated) for file in generated_files(path)]
    readable += [(folder.curves, read_curves)] if folder.curves.exists() else []
    for file, read in readable:
        try:
            read(file)
        except RunError as error:
            problems.append(str(error))
    if not problems:
        parts, _, seen = load_run(path)
        scorer, number = parts.scorer(), folder.last_checkpoint()
        recorded = from_predictions(ClassRankings.read(folder.predictions(number)))
        for task in (task for task in parts.tasks if task.name in seen):
            before, now = recorded[task.name], scorer.seen(task, seen)
            examples += len(now.rows)
            changed = int((before.predictions != now.predictions).sum())
            kept = before.ranking >= 0  # files of an older version hold the prediction alone
            far = float(np.abs(before.probabilities - now.probabilities)[kept].max())
            if changed or far:
                problems.append(
                    f"task '{task.name}': {changed} of {len(now.rows)} predictions differ from the record, "
                    f"probabilities by up to {far:.2g}; the same bits are promised for the same machine and versions"
                )
    return Verified(len(checked), len(numbers), examples, tuple(problems))
