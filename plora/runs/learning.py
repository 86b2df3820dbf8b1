"""Start a run, go on with it, add a task to it."""

import os
from collections.abc import Sequence
from pathlib import Path

from plora.build import Parts, Workspace, build
from plora.config import RunConfig, load_domain, load_task
from plora.config.made_in import named_folder, paths_from, seen_from
from plora.errors import DataError, PloraError, RunError
from plora.events.console import Console
from plora.failpoints import reached
from plora.processes import Processes
from plora.results import matrix_table, summary_table
from plora.results.record.found_runs import root_hash
from plora.run_folder.agreement import read_agreed
from plora.run_folder.checkpoint import check_files
from plora.run_folder.folder import RunFolder
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.runs.loading import require_backbone, require_same
from plora.runs.writing import own
from plora.shown import shell_word
from plora.streams.added import AddedTask
from plora.streams.base import Task, Texts
from plora.streams.overlap import Overlaps
from plora.streams.row_count import counted
from plora.streams.targeted import Targeted
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
        out.event("load", stream=config.stream.kind, backbone=config.backbone.label)
        parts = build(config, workspace)
        parts.begin()
        processes.lead(lambda: RunFolder.create(config.folder))
        folder = RunFolder(config.folder)
        with own(folder, processes):
            processes.lead(lambda: folder.write_config(parts.config))
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
    with console or Console(silent=not processes.main) as out, own(folder, processes):
        agreed = read_agreed(folder)
        config = agreed.config
        out.event("load", stream=config.stream.kind, backbone=config.backbone.label)
        check_files(folder, agreed.last.files)
        require_backbone(folder)
        parts = build(config, workspace, folder.made_in)
        if folder.environment.exists():
            require_same(parts, folder)
        if len(folder.complete()) < len(parts.stages):
            parts.begin()
        _learn(parts, folder, out)
    return folder.path


def read_task(path: Path, data: Path, keys: Sequence[str]) -> AddedTask:
    """Read what a run is to be extended by: a task in the form that its problem learns from.

    Args:
        path: the run folder.
        data: see `load_task` and `load_domain`.
        keys: `key=value`.

    Raises:
        RunError: the folder is not a run.
        ConfigError: every mistake, one line each, starting with its key.
    """
    problem = RunFolder.existing(path).read_config().problem
    return load_domain(data, keys) if problem.added == "documents" else load_task(data, keys, problem.added)


def extend(path: Path, task: AddedTask, console: Console | None = None, workspace: Workspace | None = None) -> Path:
    """Let a finished run learn one task more, as if the task had been the last of its stream from the start.

    Args:
        path: the run folder.
        task: its name and files. Of a domain of documents, none is left out because another domain has it too.
        console: where progress is shown; None is stdout.
        workspace: what runs of this process share; None shares nothing.

    Raises:
        RunError: the run is not finished, or what it has learned depends on the tasks to come.
        DataError: the task cannot be learned in the run's scenario, or its name is taken.
    """
    folder, processes = RunFolder.existing(path), Processes.joined()
    workspace = workspace or Workspace()
    with console or Console(silent=not processes.main) as out, own(folder, processes):
        agreed = read_agreed(folder)
        former = agreed.config
        if former.row.at_once:
            raise RunError(
                f"method '{former.method}' learns all tasks at once; a task more means a new run: add it to the stream"
            )
        if former.scenario == "class" and former.resolved_loss_rows() == "all":
            raise RunError(
                "loss_rows=all: the rows of all tasks compete from the first task on, so with a task more the older "
                "ones would have been learned otherwise; a task more means a new run: add it to the stream"
            )
        for strategy in former.resolved_strategies():
            if reason := strategy.counts_tasks:
                raise RunError(
                    f"strategies: '{strategy.kind}' {reason}, so with a task more the older ones would have been "
                    "learned otherwise; a task more means a new run: add it to the stream"
                )
        if any(added.name == task.name for added in former.added):
            raise DataError(f"task '{task.name}' was added already; if it was cut, go on with `plora resume {path}`")
        require_backbone(folder)
        made_in = folder.made_in
        if made_in is not None and made_in != Path.cwd():  # the new task's files are named from here
            task = paths_from(task, Path.cwd())
        config = former.model_copy(update={"added": (*former.added, task)})
        parts = build(config, workspace, made_in)  # refuses what does not fit before anything is written
        parts.begin()
        finished = agreed.record is not None and agreed.record.complete
        if not finished or agreed.last.number < len(parts.stream.tasks) - 1:
            raise RunError(f"{path} is not finished; `plora resume {path}` first")
        require_same(parts, folder)
        check_files(folder, agreed.last.files)
        run = folder.run
        processes.lead(lambda: folder.write_config(config, run))
        reached("extended")
        try:
            _learn(parts, folder, out)
        except PloraError:
            # The task cannot be learned as it is: the run is again what it was before.
            processes.lead(lambda: folder.write_config(former, run))
            processes.lead(StepCheckpoint(folder.step, None, run).clear)
            _learn(build(former, workspace, made_in), folder, out)
            raise
    return folder.path


def _learn(parts: Parts, folder: RunFolder, out: Console) -> None:
    """Write what the run depends on, learn, and say how it went."""
    parts.learner.processes.lead(lambda: _introduce(parts, folder, out))
    try:
        record = learn_stream(parts, folder, out)
    except KeyboardInterrupt:
        _interrupted(parts, folder, out)
        raise
    out.event(
        "run_done",
        **{name: metric.value for name, metric in record.metrics.items() if metric.value is not None},
        folder=str(folder.path),
        root=root_hash(folder.path),
    )
    out.say(f"\n{matrix_table(record)}\n\n{summary_table([record])}\n")


def _interrupted(parts: Parts, folder: RunFolder, out: Console) -> None:
    """Say what is kept of a run that its user stops, and how it goes on."""
    learned = len(folder.complete())
    begun = ", and of the next what its last checkpoint has" if folder.step.exists() else ""
    out.event("interrupted", stages=f"{learned}/{len(parts.stages)}", folder=str(folder.path))
    out.say(
        f"interrupted: {learned} of {len(parts.stages)} stages are learned and kept{begun}; "
        f"`plora resume {shell_word(str(folder.path))}` goes on"
    )


def _introduce(parts: Parts, folder: RunFolder, out: Console) -> None:
    """Write what the run depends on, and say what it is."""
    config, processes = parts.config, parts.learner.processes.count
    out.log = folder.log
    made_in = folder.made_in or Path.cwd()
    backbone = seen_from(config, made_in).backbone
    own_folder = str(Path.cwd() / os.path.expanduser(backbone.id)) if named_folder(backbone, Path.cwd()) else None
    changed = folder.write_environment(
        {
            "made_in": str(made_in),
            "backbone": {
                "id": config.backbone.id,
                "fingerprint": parts.learner.backbone.fingerprint,
                "folder": own_folder,
            },
            "preprocessing": {
                "fingerprint": parts.model.problem.fingerprint(),
                "first_batch": parts.tasks[0].splits["train"].first_batch(),
            },
            "stream": {
                "fingerprint": parts.stream.fingerprint(),
                "provenance": dict(parts.stream.provenance),
                "splits": {task.name: task.fingerprints() for task in parts.stream.tasks},
                "labels": {task.name: task.label_names for task in parts.stream.tasks},
                "pairs": [task.name for task in parts.stream.tasks if _is_of_pairs(task)],
                "rows": {
                    name: {"found": count.found, "used": count.used, "left_out": count.reasons()}
                    for name, count in parts.stream.rows.items()
                },
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
    for name, count in parts.stream.rows.items():
        out.event(
            "rows",
            source=name,
            found=count.found,
            used=count.used,
            left_out=counted(count.reasons()) or "none",
            **({"remarks": "; ".join(count.remarks)} if count.remarks else {}),
        )
    for about, note in parts.stream.notes.items():
        out.event("stream_note", about=about, note=note)
    overlaps = parts.stream.overlaps()
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
            **({} if overlaps is None else _told(overlaps[task.name])),
        )
        if (example := parts.model.problem.shown(encoded.splits["train"])) is not None:
            out.event("task_example", task=task.name, learned_in_brackets=example)


def _told(overlaps: Overlaps) -> dict[str, int]:
    """How many texts of a task's test and validation stand nearly in earlier splits, or in those of other tasks."""
    test, validation = overlaps.test, overlaps.validation
    return {
        "test_near_duplicates": test.near,
        "test_in_other_tasks": test.same_elsewhere + test.near_elsewhere,
        "validation_duplicates": validation.same,
        "validation_near_duplicates": validation.near,
        "validation_in_other_tasks": validation.same_elsewhere + validation.near_elsewhere,
    }


def _is_of_pairs(task: Task) -> bool:
    found = task.train.inputs if isinstance(task.train, Targeted) else task.train
    return isinstance(found, Texts) and isinstance(found.inputs[0], tuple)
