"""Runs as a user sees them: start one, go on with it, add to it, check it, use it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from plora.batches.evaluate import probabilities
from plora.build import Learner, Parts, Workspace, assemble, build
from plora.config import RunConfig
from plora.errors import DataError, PloraError, RunError, UnknownTaskError, did_you_mean
from plora.events.console import Console
from plora.failpoints import reached
from plora.processes import Processes
from plora.results import (
    ACCURACY,
    RESULTS_FILE,
    ClassRankings,
    RunRecord,
    generated_files,
    matrix_table,
    read_curves,
    read_generated,
    read_record,
    summary_table,
    write_record,
)
from plora.run_folder.checkpoint import (
    Manifest,
    check_files,
    load_checkpoint,
    read_manifest,
    remove_unreferenced,
    require_checkpoints,
    write_manifest,
)
from plora.run_folder.folder import RunFolder
from plora.run_folder.recording import from_predictions
from plora.streams.base import TextInput, Texts
from plora.streams.incremental import LabelSpace
from plora.streams.local import LocalTask
from plora.training.stream import learn_stream


def run(config: RunConfig, console: Console | None = None, workspace: Workspace | None = None) -> Path:
    """Learn the stream of a config and return the run folder.

    Args:
        config: of the run.
        console: where progress is shown; None is stdout.
        workspace: what runs of this process share; None shares nothing.

    Raises:
        RunError: the run folder exists already, or cannot be written.
        PloraError: of the part that does not fit, in one line, before anything is written.
    """
    processes = Processes.joined()
    processes.lead(lambda: RunFolder.require_new(config.folder))  # refuse before minutes of loading
    with console or Console(silent=not processes.main) as out:
        out.event("load", stream=config.stream.kind, backbone=config.backbone.id)
        parts = build(config, workspace)
        parts.begin()
        processes.lead(lambda: RunFolder.create(config.folder))
        folder = RunFolder(config.folder)
        with _alone(folder, processes), _writing(folder):
            processes.lead(lambda: folder.write_config(config))
            reached("created")
            _learn(parts, folder, out)
    return folder.path


def resume(path: Path, console: Console | None = None, workspace: Workspace | None = None) -> Path:
    """Go on with a run that was cut, from its last checkpoint, and return the run folder.

    Weights, predictions and `results.json` end as if nothing had happened, bit for bit on the same machine.

    Args:
        path: the run folder.
        console: where progress is shown; None is stdout.
        workspace: what runs of this process share; None shares nothing.

    Raises:
        RunError: the folder is not a run, is being written, was changed or damaged, or data, backbone or tokenizer are
            no longer what they were.
    """
    folder, processes = RunFolder.existing(path), Processes.joined()
    with console or Console(silent=not processes.main) as out, _alone(folder, processes), _writing(folder):
        config = folder.read_config()
        out.event("load", stream=config.stream.kind, backbone=config.backbone.id)
        parts = build(config, workspace)
        if folder.environment.exists():
            _require_same(parts, folder)
        if len(folder.complete()) < len(parts.stages):
            parts.begin()
        _learn(parts, folder, out)
    return folder.path


def extend(path: Path, task: LocalTask, console: Console | None = None, workspace: Workspace | None = None) -> Path:
    """Let a finished run learn one task more, as if the task had been the last of its stream from the start.

    Args:
        path: the run folder.
        task: its name and files.
        console: where progress is shown; None is stdout.
        workspace: what runs of this process share; None shares nothing.

    Raises:
        RunError: the run is not finished, or its method learns all tasks at once.
        DataError: the task cannot be learned in the run's scenario, or its name is taken.
    """
    folder, processes = RunFolder.existing(path), Processes.joined()
    workspace = workspace or Workspace()
    with console or Console(silent=not processes.main) as out, _alone(folder, processes), _writing(folder):
        former = folder.read_config()
        if former.row.at_once:
            raise RunError(
                f"method '{former.method}' learns all tasks at once; a task more means a new run: add it to the stream"
            )
        if any(added.name == task.name for added in former.added):
            raise DataError(f"task '{task.name}' was added already; if it was cut, go on with `plora resume {path}`")
        config = former.model_copy(update={"added": (*former.added, task)})
        parts = build(config, workspace)  # refuses what does not fit before anything is written
        parts.begin()
        complete = folder.complete()
        if not read_record(path).complete or not complete or complete[-1] < len(parts.stream.tasks) - 1:
            raise RunError(f"{path} is not finished; `plora resume {path}` first")
        _require_same(parts, folder)
        processes.lead(lambda: folder.write_config(config))
        reached("extended")
        try:
            _learn(parts, folder, out)
        except PloraError:
            # The task cannot be learned as it is: the run is again what it was before.
            processes.lead(lambda: folder.write_config(former))
            processes.lead(folder.forget_step)
            _learn(build(former, workspace), folder, out)
            raise
    return folder.path


def forget(path: Path, task: str) -> None:
    """Take a task's slot and its rows of the head out of every checkpoint of a run.

    What other tasks learned stays bit for bit. The record of what was measured (`results.json`, `predictions/`) stays.

    Args:
        path: the run folder.
        task: its name.

    Raises:
        UnknownTaskError: the run has not learned it.
        RunError: the method does not keep tasks apart; says why.
    """
    folder = RunFolder.existing(path)
    with folder.lock(), _writing(folder):
        config = folder.read_config()
        record = read_record(path) if (path / RESULTS_FILE).exists() else None  # none: cut before its first score
        last = read_manifest(folder, folder.last_checkpoint())
        if task not in (*last.tasks, *last.forgotten):
            raise UnknownTaskError(
                f"no task '{task}'{did_you_mean(task, last.tasks)}; the run has learned: {', '.join(last.tasks)}"
            )
        if reason := config.row.entangled(config.scenario):
            raise RunError(f"task '{task}' cannot be forgotten: {reason}")
        folder.forget_step()  # it may hold what is to be forgotten; without it the task being learned starts again
        position = list(last.blocks).index(task)
        for number in reversed(folder.complete()):  # the newest first: nothing reads the others before it
            manifest = read_manifest(folder, number)
            if task not in manifest.tasks:
                continue
            slots = {name: content for name, content in manifest.slots.items() if name != task}
            parts = {part: content for part, content in manifest.parts.items() if part != str(position)}
            kept = {folder.slot(content).name for content in slots.values()} | set(parts.values())
            change = {
                "tasks": tuple(name for name in manifest.tasks if name != task),
                "forgotten": (*manifest.forgotten, task),
                "slots": slots,
                "parts": parts,
                "files": {name: sha for name, sha in manifest.files.items() if not _belongs_to_none(name, kept)},
            }
            write_manifest(folder, number, manifest.model_copy(update=change))
        remove_unreferenced(folder)
        warning = f"task '{task}' was learned and forgotten (plora forget)"
        if record is not None and warning not in record.warnings:
            write_record(path, replace(record, warnings=(*record.warnings, warning)))


def _belongs_to_none(name: str, kept: set[str]) -> bool:
    """Whether a file of `slots/` or `heads/` belongs to no kept content hash."""
    place = Path(name)
    content = {"slots": place.parent.name, "heads": place.stem}.get(place.parts[0])
    return content is not None and content not in kept


@contextmanager
def _writing(folder: RunFolder) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder.path} cannot be written: {error.strerror or error}. Nothing that was committed "
            f"is lost; make room or give permission, then `plora resume {folder.path}`"
        ) from error


@contextmanager
def _alone(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Let the main process lock the folder for all of them."""
    with ExitStack() as held:
        processes.lead(lambda: held.enter_context(folder.lock()))
        yield


def _learn(parts: Parts, folder: RunFolder, out: Console) -> None:
    """Write what the run depends on, learn, and say how it went."""
    parts.learner.processes.lead(lambda: _introduce(parts, folder, out))
    record = learn_stream(parts, folder, out)
    out.event(
        "run_done",
        **{name: metric.value for name, metric in record.metrics.items() if metric.value is not None},
        folder=str(folder.path),
    )
    out.say(f"\n{matrix_table(record)}\n\n{summary_table([record])}\n")


def _introduce(parts: Parts, folder: RunFolder, out: Console) -> None:
    """Write what the run depends on, and say what it is."""
    config, processes = parts.config, parts.learner.processes.count
    out.log = folder.log
    changed = folder.write_environment(
        {
            "backbone": {"id": config.backbone.id, "fingerprint": parts.learner.backbone.fingerprint},
            "preprocessing": {
                "fingerprint": parts.model.problem.fingerprint(),
                "first_batch": parts.tasks[0].splits["train"].first_batch(),
            },
            "stream": {
                "fingerprint": parts.stream.fingerprint(),
                "provenance": dict(parts.stream.provenance),
                "splits": {task.name: task.fingerprints() for task in parts.stream.tasks},
                "labels": {task.name: task.label_names for task in parts.stream.tasks},
            },
        },
        processes,
    )
    if changed:
        out.event("environment_changed", **changed)
    out.event(
        "run_start",
        method=config.method,
        stream=parts.stream.name,
        scenario=config.scenario,
        tasks=len(parts.tasks),
        seed=config.seed,
        processes=processes,
        folder=str(folder.path),
    )
    for task, encoded in zip(parts.stream.tasks, parts.tasks, strict=True):
        out.event(
            "task_data",
            task=task.name,
            classes=len(task.label_names),
            train=len(task.train),
            validation=len(task.validation),
            test=len(task.test),
            truncated=f"{encoded.truncated_share():.1%}",
            test_duplicates=task.test_duplicates(),
        )


def _require_same(parts: Parts, folder: RunFolder) -> None:
    """Refuse data, a backbone or preprocessing that are no longer what the run was started with."""
    stored = folder.read_environment()
    stream, backbone, preprocessing = (stored[key] for key in ("stream", "backbone", "preprocessing"))
    assert isinstance(stream, dict)
    assert isinstance(backbone, dict)
    assert isinstance(preprocessing, dict)
    fingerprint = parts.learner.backbone.fingerprint
    if backbone["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder.path} was learned on another backbone (fingerprint {backbone['fingerprint'][:12]}…, loaded "
            f"{fingerprint[:12]}…); restore the files of {backbone['id']}"
        )
    first_batch = parts.tasks[0].splits["train"].first_batch()
    if preprocessing != {"fingerprint": parts.model.problem.fingerprint(), "first_batch": first_batch}:
        raise RunError(
            f"{folder.path}: the tokenizer no longer makes the same inputs (first batch "
            f"{preprocessing['first_batch']}, now {first_batch}); restore the versions in environment.json"
        )
    labels = {task.name: list(task.label_names) for task in parts.stream.tasks}
    for task, names in stream["labels"].items():
        if labels.get(task) != names:
            raise RunError(
                f"{folder.path}: the labels of task '{task}' have changed since the run ({', '.join(names[:6])}; now "
                f"{', '.join(labels.get(task, [])[:6]) or 'no such task'}); restore the data"
            )
    now = {task.name: task.fingerprints() for task in parts.stream.tasks}
    for task, splits in stream["splits"].items():
        changed = [split for split, content in splits.items() if now.get(task, {}).get(split) != content]
        if changed:
            raise RunError(
                f"{folder.path}: the data of task '{task}' have changed since the run ({', '.join(changed)}); restore "
                "them, or the library versions in environment.json"
            )


def load_run(path: Path) -> tuple[Parts, RunFolder, list[str]]:
    """Rebuild a run from its folder with the model of its last checkpoint.

    Returns:
        Its parts, its folder, and the names of the tasks that the checkpoint has learned.

    Raises:
        RunError: the folder is not a run, is damaged, or its data or backbone are no longer what they were.
    """
    folder = RunFolder.existing(path)
    config = folder.read_config()
    number = folder.last_checkpoint()
    parts = build(config)
    _require_same(parts, folder)
    return parts, folder, list(load_checkpoint(folder, number, parts.learner).tasks)


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
class Prediction:
    """Labels of one text, the likeliest first, with their probabilities."""

    text: TextInput
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def load_learner(path: Path) -> tuple[Learner, Manifest, LabelSpace]:
    """Load the model of a run's last checkpoint; the data that it was learned from are not needed.

    Returns:
        The learner, what its checkpoint says, and the rows of all tasks.
    """
    folder = RunFolder.existing(path)
    config = folder.read_config()
    if (path / RESULTS_FILE).exists():
        require_checkpoints(folder, read_record(path))
    learner = assemble(config, Workspace())
    learned = load_checkpoint(folder, folder.last_checkpoint(), learner)
    if not learned.tasks:
        raise RunError(f"{path} has forgotten every task it learned")
    return learner, learned, LabelSpace.lay_out(learned.labels, config.scenario)


def predict(path: Path, texts: Sequence[TextInput], task: str | None = None, top: int = 3) -> list[Prediction]:
    """Label new texts with a run's last checkpoint; the data that it was learned from are not needed.

    Args:
        path: the run folder.
        texts: texts, or pairs of texts for a task learned on pairs.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.
        top: labels to return for each text.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no text.
    """
    if not texts:
        raise DataError("nothing to predict: the input holds no text")
    learner, learned, space = load_learner(path)
    seen, scenario = learned.tasks, space.scenario
    if task is not None and task not in seen:
        raise UnknownTaskError(f"no task '{task}'{did_you_mean(task, seen)}; the run has learned: {', '.join(seen)}")
    if task is not None and scenario != "task":
        raise UnknownTaskError(
            f"this run is {scenario}-incremental and answers without being told the task; leave --task {task} out"
        )
    if task is None and scenario == "task":
        raise UnknownTaskError(
            "this run is task-incremental and has a head per task: name one with --task; "
            f"it has learned: {', '.join(seen)}"
        )
    split = Texts(tuple(texts), np.zeros(len(texts), dtype=np.int64))
    visible = space.visible(task, seen)
    named = task if scenario == "task" else None
    p = probabilities(learner.extractor, learner.model.problem.encode(split), named, visible)
    shown = torch.from_numpy(np.flatnonzero(visible))  # a probability of 0 is no reason to name another task's label
    values, best = p[:, shown].topk(min(top, len(shown)), dim=1)
    rows = shown[best]
    return [
        Prediction(text, tuple(space.names[row] for row in best), tuple(likely))
        for text, best, likely in zip(texts, rows.tolist(), values.tolist(), strict=True)
    ]


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
            row = ClassRankings.read(folder.predictions(number)).cells(record.tasks, ACCURACY)
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


__all__ = [
    "Prediction",
    "Rescored",
    "RunRecord",
    "Verified",
    "evaluate",
    "extend",
    "forget",
    "load_learner",
    "load_run",
    "predict",
    "resume",
    "run",
    "verify",
]
