"""Score a run again, and check it file by file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec

import numpy as np

from plora.errors import RunError
from plora.results import RunRecord, Score, generated_files, read_curves, read_generated, read_measurements
from plora.results.record.forgotten import read_forgotten
from plora.results.record.found_runs import root_hash
from plora.results.record.sheet import read_sheet, sheet_files
from plora.run_folder.agreement import read_agreed
from plora.run_folder.checkpoint import check_files
from plora.run_folder.folder import RunFolder
from plora.run_folder.others import others
from plora.run_folder.predictions import require_answers, require_own
from plora.runs.loading import load_run
from plora.shown import visible

P = ParamSpec("P")


@dataclass(frozen=True)
class Rescored:
    """A run scored again.

    Args:
        tasks: names of the tasks that the run has learned.
        values: the score of each, now.
        recorded: of each, in the record.
        changed: predictions that differ from the record, over all tasks.
    """

    tasks: list[str]
    values: list[float]
    recorded: list[float]
    changed: int
    score: Score


def evaluate(path: Path) -> Rescored:
    """Load a run's last checkpoint, score the test splits again, and compare with the record."""
    parts, folder, agreed = load_run(path)
    record, seen, number = agreed.require_recorded(folder), agreed.last.tasks, agreed.last.number
    scorer, problem = parts.scorer(), parts.model.problem
    _check_row(folder, record, number)
    recorded = problem.with_names(problem.record.read(folder.predictions(number)), parts.space.names)
    scores = {task.name: scorer.seen(task, seen) for task in parts.tasks if task.name in seen}
    changed = sum(recorded.of(name).changed(result) for name, result in scores.items())
    row = record.matrix[number]
    columns = [task.name for task in parts.tasks]
    return Rescored(
        list(scores),
        [result.value(problem.score) for result in scores.values()],
        [float(row[columns.index(name)]) for name in scores],
        changed,
        problem.score,
    )


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Args:
        files: files of checkpoints whose sha256 is as in their manifest.
        checkpoints: complete checkpoints.
        examples: those that were scored, predicted again.
        problems: one line each; empty when the run is sound.
        root: the hash of all that has a hash; None where a problem leaves it without meaning.
        others: what stands in the folder and is not the run's.
    """

    files: int
    checkpoints: int
    examples: int
    problems: tuple[str, ...]
    root: str | None = None
    others: tuple[str, ...] = ()


def verify(path: Path, expect: str | None = None) -> Verified:
    """Check a run: every file against its hash and against the others, predictions against data, record and model.

    `curves.jsonl`, `generated/` and `examples/` have no hash; that they can be read is checked.

    Args:
        path: the run folder.
        expect: the run's root hash, as it was told when the run ended; whoever edits a run can make all its hashes
            anew, but not that one.

    Raises:
        RunError: the run cannot be read at all.
    """
    folder = RunFolder.existing(path)
    folder.read_config()  # without it nothing can be said
    try:
        agreed = read_agreed(folder)
    except RunError as error:  # what it says of itself cannot be relied on
        return Verified(0, len(folder.complete()), 0, (str(error),))
    record, last = agreed.require_recorded(folder), agreed.last
    problems: list[str] = []
    if [*folder.read_environment().stream.splits] != [*record.tasks]:
        raise RunError(f"{path} was cut while it learned a task more; `plora resume {path}` first")
    if read_forgotten(folder.path).pending:
        raise RunError(f"{path} was cut while it forgot a task; `plora resume {path}` finishes it")
    root = root_hash(path)
    for name, sha in last.files.items():
        _note(problems, check_files, folder, {name: sha})
    rows = [number for number in range(len(record.matrix)) if not np.isnan(record.matrix[number]).all()]
    for number in rows:
        _note(problems, _check_row, folder, record, number)
    readable: list[tuple[Path, Callable[[Path], object]]] = [(file, read_generated) for file in generated_files(path)]
    readable += [(file, read_sheet) for file in sheet_files(path)]
    readable += [(folder.curves, read_curves)] if folder.curves.exists() else []
    for file, read in readable:
        _note(problems, read, file)
    examples = 0
    if not problems:
        parts, _, _ = load_run(path)
        scorer, problem = parts.scorer(), parts.model.problem
        kept = {task.name: task.splits[scorer.split] for task in parts.tasks}
        for number in rows:
            file = folder.predictions(number)
            for name, own in problem.record.read(file).by_task().items():
                _note(problems, require_answers, file, own, kept[name], name)
        stored = problem.with_names(problem.record.read(folder.predictions(last.number)), parts.space.names)
        recorded, nothing = stored.by_task(), stored.rows(np.zeros(len(stored), np.bool_))
        for task in (task for task in parts.tasks if task.name in last.tasks):
            before, now = recorded.get(task.name, nothing), scorer.seen(task, last.tasks)
            examples += len(now)
            if len(before) != len(now):
                continue  # said already
            changed, far = before.changed(now), before.largest_difference(now)
            if changed or far:
                problems.append(
                    f"task '{task.name}': {changed} of {len(now)} predictions differ from the record, "
                    f"probabilities by up to {far:.2g}; the same bits are promised for the same machine and versions"
                )
    if expect is not None and expect.strip().lower() != root:
        problems.insert(
            0,
            f"{path} has the root hash {root}, and {visible(expect.strip())} was expected: it is another run, or it "
            "was changed or went on since that was told",
        )
    whole = None if problems else root
    return Verified(
        len(last.files), len(folder.complete()), examples, tuple(dict.fromkeys(problems)), whole, others(folder, last)
    )


def _check_row(folder: RunFolder, record: RunRecord, number: int) -> None:
    """Refuse predictions that are not the run's, or do not give the row of the matrix."""
    path, seal = folder.predictions(number), require_own(folder, number)
    if record.predictions and record.predictions[number] != seal:
        raise RunError(f"{path} is not what results.json was made from (its sha256 differs); restore both from a copy")
    row = read_measurements(path).cells(record.tasks, record.score)
    if not np.array_equal(row, record.matrix[number], equal_nan=True):
        raise RunError(f"{path} does not give row {number} of the matrix in results.json")


def _note(problems: list[str], check: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    try:
        check(*arguments, **named)
    except RunError as error:
        problems.append(str(error))
