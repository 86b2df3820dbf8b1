"""One hash for all of a run, and what else stands in its folder."""

import os
from collections.abc import Iterator
from pathlib import Path

from plora.results import RESULTS_FILE
from plora.results.record.identity import config_seal
from plora.results.record.run_record import COSTS_FILE
from plora.run_folder.folder import RunFolder
from plora.run_folder.manifest import Checkpoint
from plora.sealed import open_sealed, seal

_APPENDED = {"log.txt", "curves.jsonl", ".lock"}
"""Files of a run without a hash."""
_OTHERS = {"generated", "trackers"}
"""Folders of a run whose files have no hash."""


def root_hash(folder: RunFolder) -> str:
    """Return the sha256 over the seals of a run: whoever has this number knows every byte that is vouched for.

    That of config, environment, record and costs (the record names the predictions), of what was forgotten, and of the
    newest manifest (which names every file of every checkpoint, and its predecessor).

    Raises:
        RunError: a file was changed after it was sealed.
    """
    files = [folder.environment, folder.inside(RESULTS_FILE), folder.inside(COSTS_FILE), folder.forgotten]
    files += [folder.manifest(number) for number in folder.complete()[-1:]]
    seals = {path.relative_to(folder.path).as_posix(): open_sealed(path).sha256 for path in files if path.exists()}
    return seal({"config.yaml": config_seal(folder.config)[1], **seals})


def others(folder: RunFolder, last: Checkpoint) -> tuple[str, ...]:
    """Return what stands in a run folder and is not the run's, by its path there; nothing of it was opened.

    Args:
        folder: of the run.
        last: its newest checkpoint.
    """
    own = {"config.yaml", "environment.json", RESULTS_FILE, COSTS_FILE, "forgotten.json", *_APPENDED, *last.files}
    own |= {f"checkpoints/task-{number:02}/manifest.json" for number in folder.complete()}
    own |= {f"predictions/task-{number:02}.parquet" for number in range(len(last.labels) + 1)}
    found = (path.relative_to(folder.path).as_posix() for path in _walk(folder.path))
    return tuple(name for name in found if name not in own and not name.startswith("checkpoints/step/"))


def _walk(folder: Path, top: bool = True) -> Iterator[Path]:
    """Everything in a folder that is not itself a plain folder, at any depth."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if not entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)
        elif not (top and entry.name in _OTHERS):
            yield from _walk(Path(entry.path), top=False)
