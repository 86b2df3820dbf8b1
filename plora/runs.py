"""Runs as a user sees them: start one, score one again, use one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora import atomic
from plora.build import Parts, Workspace, assemble, build
from plora.config import RunConfig, load_config
from plora.errors import DataError, RunError, UnknownTaskError, did_you_mean
from plora.results import RunRecord, matrix_table, read_predictions, read_record, summary_table
from plora.streams.base import Split, TextInput
from plora.streams.incremental import LabelSpace
from plora.training.checkpoint import load_checkpoint
from plora.training.console import Console
from plora.training.data import EncodedSplit
from plora.training.evaluate import probabilities
from plora.training.features import FeatureCache
from plora.training.folder import RunFolder
from plora.training.loop import learn_stream


def run(config: RunConfig, console: Console | None = None, workspace: Workspace | None = None) -> Path:
    """Learn the stream of a config and return the run folder.

    Args:
        config: of the run.
        console: where progress is shown; None is stdout.
        workspace: what runs of this process share; None shares nothing.

    Raises:
        RunError: the run folder exists already.
        PloraError: of the part that does not fit, in one line, before anything is written.
    """
    RunFolder.require_new(config.folder)  # refuse before minutes of loading
    with console or Console() as out:
        out.event("load", stream=config.stream.kind, backbone=config.backbone.id)
        parts = build(config, workspace)
        folder = RunFolder.create(config.folder)
        atomic.write_text(folder.config, config.to_yaml())
        folder.write_environment(
            {
                "backbone": {"id": config.backbone.id, "fingerprint": parts.learner.backbone.fingerprint},
                "preprocessing_fingerprint": parts.model.problem.fingerprint(),
                "stream": {
                    "fingerprint": parts.stream.fingerprint(),
                    "provenance": dict(parts.stream.provenance),
                    "splits": {task.name: task.fingerprints() for task in parts.stream.tasks},
                },
            }
        )
        out.log = folder.log
        out.event(
            "run_start",
            method=config.method,
            stream=parts.stream.name,
            scenario=config.scenario,
            tasks=len(parts.tasks),
            seed=config.seed,
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
        record = learn_stream(parts, folder, out)
        out.event(
            "run_done",
            **{name: metric.value for name, metric in record.metrics.items() if metric.value is not None},
            folder=str(folder.path),
        )
        out.say(f"\n{matrix_table(record)}\n\n{summary_table([record])}\n")
    return folder.path


def load_run(path: Path) -> tuple[Parts, RunFolder, list[str]]:
    """Rebuild a run from its folder with the model of its last checkpoint.

    Returns:
        Its parts, its folder, and the names of the tasks that the checkpoint has learned.

    Raises:
        RunError: the folder is not a run, is damaged, or its data or backbone are no longer what they were.
    """
    folder = RunFolder.existing(path)
    config = load_config(folder.config)
    checkpoint = folder.last_checkpoint()
    parts = build(config)
    record = read_record(path)
    if parts.stream.fingerprint() != record.stream.fingerprint:
        raise RunError(
            f"{path}: the stream has changed since the run (fingerprint {parts.stream.fingerprint()[:12]}…, recorded "
            f"{record.stream.fingerprint[:12]}…); restore the data, or the library versions in environment.json"
        )
    return parts, folder, load_checkpoint(folder, checkpoint, parts.learner).tasks


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
    parts, folder, seen = load_run(path)
    scorer = parts.scorer()
    recorded = read_predictions(folder.predictions(len(seen)))
    scores = {task.name: scorer.seen(task, seen) for task in parts.tasks if task.name in seen}
    changed = sum(
        int((recorded.prediction[recorded.task == name] != result.predictions).sum()) for name, result in scores.items()
    )
    row = read_record(path).matrix[len(seen)]
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


def predict(path: Path, texts: Sequence[TextInput], task: str | None = None, top: int = 3) -> list[Prediction]:
    """Label new texts with a run's last checkpoint; the data that it was learned from are not needed.

    Args:
        path: the run folder.
        texts: texts, or pairs of texts for a task learned on pairs.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.
        top: labels to return for each text.

    Raises:
        UnknownTaskError: the task is missing or unknown.
        DataError: there is no text.
    """
    if not texts:
        raise DataError("nothing to predict: the input holds no text")
    folder = RunFolder.existing(path)
    config = load_config(folder.config)
    learner = assemble(config, FeatureCache())
    learned = load_checkpoint(folder, folder.last_checkpoint(), learner)
    seen, space = learned.tasks, LabelSpace.lay_out(learned.labels, config.scenario)
    if task is not None and task not in seen:
        raise UnknownTaskError(f"no task '{task}'{did_you_mean(task, seen)}; the run has learned: {', '.join(seen)}")
    if task is None and config.scenario == "task":
        raise UnknownTaskError(
            "this run is task-incremental and has a head per task: name one with --task; "
            f"it has learned: {', '.join(seen)}"
        )
    split = Split(tuple(texts), np.zeros(len(texts), dtype=np.int64))
    visible = space.visible(task, seen)
    p = probabilities(learner.extractor, EncodedSplit(learner.model.problem.encode(split), split.labels), task, visible)
    values, rows = p.topk(min(top, int(visible.sum())), dim=1)
    return [
        Prediction(text, tuple(space.names[row] for row in best), tuple(likely))
        for text, best, likely in zip(texts, rows.tolist(), values.tolist(), strict=True)
    ]


__all__ = ["Prediction", "Rescored", "RunRecord", "evaluate", "load_run", "predict", "run"]
