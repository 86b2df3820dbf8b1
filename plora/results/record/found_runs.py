"""Finding runs on disk, and the files of a run."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plora.errors import RunError
from plora.regular import inside
from plora.results.record.columns import read_seal
from plora.results.record.identity import CONFIG_FILE, ENVIRONMENT_FILE, config_seal
from plora.results.record.run_record import COSTS_FILE, RESULTS_FILE, RunRecord, read_record
from plora.sealed import open_sealed, seal

CURVES_FILE, FORGOTTEN_FILE, MANIFEST_FILE = "curves.jsonl", "forgotten.json", "manifest.json"
_NUMBERED = re.compile(r"task-(\d{2,9})")


@dataclass(frozen=True)
class FoundRuns:
    """What `find_runs` found.

    Args:
        runs: the record of each run by its folder, sorted by path (seed-2 before seed-10).
        left_out: one line per damaged run below a parent folder, naming it and the damage.
        unfinished: one line per run that is not complete; those that have a record are in `runs` too.
    """

    runs: Mapping[Path, RunRecord]
    left_out: tuple[str, ...]
    unfinished: tuple[str, ...]


def find_runs(paths: Iterable[Path]) -> FoundRuns:
    """Find and read the runs that are meant by some paths.

    Args:
        paths: run folders (or their `results.json`), or folders that have run folders at any depth below them.

    Returns:
        The runs, and which were left out or are unfinished. A folder met twice counts once. Hidden folders
        and links to folders are not entered.

    Raises:
        RunError: a path does not exist, holds no run, or is itself a damaged run.
    """
    folders: set[Path] = set()
    unfinished = []
    named = set()
    for path in paths:
        folder = path.parent if path.name == RESULTS_FILE else path
        if not folder.is_dir():
            raise RunError(f"{path} does not exist or is not a folder; name a run folder or a parent of some")
        below, started = _walk(folder)
        if not below and not started:
            raise RunError(
                f"{path} is not a run: it has no {RESULTS_FILE}, nor has any folder below it; "
                "name a folder that 'plora run' made, or a parent of some"
            )
        if not below and folder in started:
            raise RunError(f"{path} has no {RESULTS_FILE}: the run stopped before its first evaluation")
        named.add(folder.resolve())
        folders.update(below)
        unfinished += [f"{run}: stopped before its first evaluation" for run in started]
    runs: dict[Path, RunRecord] = {}
    left_out = []
    seen = set()
    for folder in sorted(folders, key=_natural):
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        try:
            record = read_record(folder)
        except RunError as error:
            if folder.resolve() in named:
                raise
            left_out.append(str(error))
            continue
        runs[folder] = record
        if not record.complete:
            unfinished.append(f"{folder}: {unfinished_line(record)}")
    return FoundRuns(runs, tuple(left_out), tuple(unfinished))


def unfinished_line(record: RunRecord) -> str:
    """Return "unfinished: …" with how far the run came."""
    learned = sum(status != "pending" for status in record.status)
    return f"unfinished: {learned} of {len(record.tasks)} tasks learned"


def predictions_file(folder: Path, record: RunRecord, row: int | None = None) -> Path | None:
    """Return the predictions behind a row that was measured; None where there is no such row or file.

    Args:
        folder: of the run.
        record: of it.
        row: after how many tasks; None: the last that was measured.

    Raises:
        RunError: they are not those that the record was made from.
    """
    measured = [number for number, status in enumerate(record.status, start=1) if status == "evaluated"]
    number = max(measured, default=0) if row is None else row
    file = inside(folder, "predictions", f"task-{number:02}.parquet")
    if not number or not file.exists():
        return None
    if record.predictions and record.predictions[number] != read_seal(file)[1]:
        raise RunError(
            f"{file} is not what {RESULTS_FILE} was made from (its sha256 differs); restore both from a copy"
        )
    return file


def curves_file(folder: Path) -> Path | None:
    """Return the learning curves of a run; None where there are none.

    Raises:
        RunError: a link or a device stands in their place.
    """
    file = inside(folder, CURVES_FILE)
    return file if file.exists() else None


def checkpoints(folder: Path) -> dict[int, Path]:
    """Return the manifest of each complete checkpoint of a run by its number, ascending.

    Raises:
        RunError: a link or a device stands in its place.
    """
    home = inside(folder, "checkpoints")
    names = (_NUMBERED.fullmatch(entry.name) for entry in (os.scandir(home) if home.is_dir() else ()))
    numbers = sorted(int(name[1]) for name in names if name is not None and name[0] == f"task-{int(name[1]):02}")
    found = {number: manifest_file(folder, number) for number in numbers}
    return {number: path for number, path in found.items() if path.exists()}


def manifest_file(folder: Path, number: int) -> Path:
    """Return the path of the manifest after task number `number`: its checkpoint counts when it is there."""
    return inside(folder, "checkpoints", f"task-{number:02}", MANIFEST_FILE)


def root_hash(folder: Path) -> str:
    """Return the sha256 over the seals of a run: whoever has this number knows every byte that is vouched for.

    That of config, environment, record and costs (the record names the predictions), of what was forgotten, and of the
    newest manifest (which names every file of its checkpoint, and its predecessor).

    Raises:
        RunError: a file was changed after it was sealed.
    """
    names = (ENVIRONMENT_FILE, RESULTS_FILE, COSTS_FILE, FORGOTTEN_FILE)
    files = [*(inside(folder, name) for name in names), *list(checkpoints(folder).values())[-1:]]
    seals = {path.relative_to(folder).as_posix(): open_sealed(path).sha256 for path in files if path.exists()}
    return seal({CONFIG_FILE: config_seal(inside(folder, CONFIG_FILE))[1], **seals})


def _walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders with a record, and those with a config but no record."""
    found, started = [], []
    for root, folders, files in os.walk(folder):
        if RESULTS_FILE in files:
            found.append(Path(root))
            folders.clear()
        elif CONFIG_FILE in files:
            started.append(Path(root))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    return found, started


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
