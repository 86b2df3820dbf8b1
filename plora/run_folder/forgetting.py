"""Take what is left of a forgotten task out of the files of a run: names in manifests, and files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from plora.errors import RunError
from plora.results import RESULTS_FILE, read_record, write_record
from plora.results.record.forgotten import Forgotten, read_forgotten, write_forgotten
from plora.results.record.manifest import Manifest, content_of, put_manifest, read_links, seal_of
from plora.results.record.sheet import CONFUSIONS, EXAMPLES, read_sheet, sheet_files, sheet_name
from plora.run_folder.folder import RunFolder


def plan_forgetting(folder: RunFolder, task: str, part: str) -> Forgotten:
    """What has to go with a task: its files, and the names of what they hold in every manifest."""
    former, links = read_forgotten(folder.path), dict(read_links(folder.path))
    slots = {content for link in links.values() for name, content in link.slots.items() if name == task}
    parts = {content for link in links.values() for name, content in link.parts.items() if name == part}
    kept = {content for link in links.values() for name, content in link.slots.items() if name != task}
    kept |= {content for link in links.values() for name, content in link.parts.items() if name != part}
    files = tuple(name for link in links.values() for name in link.files if content_of(name) in (slots | parts) - kept)
    gone = Forgotten(tasks=(*former.tasks, task), parts={**former.parts, task: part}, files=files)
    seals, previous = dict[int, tuple[str, str]](), None
    for number, link in links.items():
        before = seal_of(number, link, folder.run)
        previous = seal_of(number, _stripped(link, gone, previous), folder.run)
        seals[number] = before, previous
    return gone.model_copy(update={"seals": seals})


def _stripped(link: Manifest, gone: Forgotten, previous: str | None) -> Manifest:
    """A manifest without what belonged to tasks that were taken out, after one that was written anew too."""
    change = {
        "previous": previous,
        "slots": {name: content for name, content in link.slots.items() if name not in gone.tasks},
        "parts": {name: content for name, content in link.parts.items() if name not in gone.parts.values()},
        "files": {name: sha for name, sha in link.files.items() if name not in gone.files},
    }
    return link.model_copy(update=change)


def finish_forgetting(folder: RunFolder) -> tuple[Path, ...]:
    """Take out what is left of tasks that were taken out: names in manifests, files, and say so in the record.

    Returns:
        Files of somebody else's that stand in the way; they were left alone.
    """
    gone = read_forgotten(folder.path)
    others: list[Path] = []
    if gone.pending:
        previous = None
        for number, link in read_links(folder.path):
            previous = put_manifest(folder.path, number, _stripped(link, gone, previous), folder.run)
        for name in gone.files:
            folder.inside(*Path(name).parts).unlink(missing_ok=True)
        for home in dict.fromkeys(Path(name).parts[:-1] for name in gone.files if name.startswith("slots/")):
            others += _emptied(folder.inside(*home))
        write_forgotten(folder.path, gone.model_copy(update={"files": (), "seals": {}}), folder.run)
    _say(folder, gone)
    _remove_sheets(folder, gone)
    return tuple(others)


def _remove_sheets(folder: RunFolder, gone: Forgotten) -> None:
    """Images of forgotten tasks go: those of each, the confusions, which are of all, and maps beside later ones."""
    if not gone.tasks or not folder.inside(EXAMPLES).exists():
        return
    learned = [task for _, link in read_links(folder.path) for task in link.stage]
    for task in gone.tasks:
        for name in (sheet_name(learned.index(task) + 1), CONFUSIONS):
            folder.inside(EXAMPLES, name).unlink(missing_ok=True)
    for file in sheet_files(folder.path):
        if _shows(file, gone.tasks):
            file.unlink()


def _shows(file: Path, tasks: Sequence[str]) -> bool:
    """Whether images of some tasks stand in a sheet; of a damaged one nobody knows that they do not."""
    try:
        return any(row.task in tasks for row in read_sheet(file).rows)
    except RunError:
        return True


def _emptied(home: Path) -> list[Path]:
    """Remove a folder where nothing is left in it; returns what is."""
    left = sorted(home.iterdir()) if home.is_dir() else []
    if home.is_dir() and not left:
        home.rmdir()
    return left


def _say(folder: RunFolder, gone: Forgotten) -> None:
    if not gone.tasks or not folder.inside(RESULTS_FILE).exists():  # cut before its first score
        return
    record = read_record(folder.path)
    told = (f"task '{task}' was learned and forgotten (plora forget)" for task in gone.tasks)
    if new := tuple(warning for warning in told if warning not in record.warnings):
        write_record(folder.path, replace(record, warnings=(*record.warnings, *new)))
