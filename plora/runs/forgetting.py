"""Take a task out of a run."""

from dataclasses import replace
from pathlib import Path

from plora.errors import RunError, UnknownTaskError, did_you_mean
from plora.results import (
    RESULTS_FILE,
    read_record,
    write_record,
)
from plora.run_folder.checkpoint import (
    read_manifest,
    remove_unreferenced,
    write_manifest,
)
from plora.run_folder.folder import RunFolder
from plora.runs.writing import writing


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
    with folder.lock(), writing(folder):
        config = folder.read_config()
        record = read_record(path) if (path / RESULTS_FILE).exists() else None  # none: cut before its first score
        last = read_manifest(folder, folder.last_checkpoint())
        if task not in (*last.tasks, *last.forgotten):
            raise UnknownTaskError(
                f"no task '{task}'{did_you_mean(task, last.tasks)}; the run has learned: {', '.join(last.tasks)}"
            )
        if reason := config.row.entangled(config.scenario, config.resolved_gate()):
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
