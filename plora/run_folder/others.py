"""What stands in a run folder and is not the run's."""

import os
from collections.abc import Iterator
from pathlib import Path

from plora.results import RESULTS_FILE
from plora.results.record.found_runs import FORGOTTEN_FILE
from plora.results.record.manifest import Checkpoint
from plora.results.record.run_record import COSTS_FILE
from plora.run_folder.folder import RunFolder

_APPENDED = {"log.txt", "curves.jsonl", ".lock"}
"""Files of a run without a hash."""
_OTHERS = {"generated", "examples", "trackers"}
"""Folders of a run whose files have no hash."""


def others(folder: RunFolder, last: Checkpoint) -> tuple[str, ...]:
    """Return what stands in a run folder and is not the run's, by its path there; nothing of it was opened.

    Args:
        folder: of the run.
        last: its newest checkpoint.
    """
    own = {"config.yaml", "environment.json", RESULTS_FILE, COSTS_FILE, FORGOTTEN_FILE, *_APPENDED, *last.files}
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
