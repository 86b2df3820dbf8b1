"""The files of a run belong together: what one says of the run, the others say too."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from plora.config import RunConfig
from plora.errors import RunError
from plora.results import RESULTS_FILE, RunRecord, read_record
from plora.results.record.manifest import NOTHING, Checkpoint, read_chain
from plora.run_folder.folder import RunFolder
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class Agreed:
    """What the files of a run say, each compared with the others.

    Args:
        config: of the run.
        record: of the run; None where it was cut before its first score.
        last: its newest checkpoint.
    """

    config: RunConfig
    record: RunRecord | None
    last: Checkpoint

    def require_checkpoint(self, folder: RunFolder) -> Checkpoint:
        """Return the newest checkpoint, where there is one.

        Raises:
            RunError: there is none.
        """
        if not self.last.number:
            raise RunError(f"{folder.path} has no complete checkpoint; the run ended before its first task was learned")
        return self.last

    def require_learned(self, folder: RunFolder) -> Checkpoint:
        """Return the newest checkpoint, where there is one that has not lost all its tasks.

        Raises:
            RunError: says which of the two.
        """
        self.require_checkpoint(folder)
        if not self.last.tasks:
            raise RunError(f"{folder.path} has forgotten every task it learned")
        return self.last

    def require_recorded(self, folder: RunFolder) -> RunRecord:
        """Return the record, where it is of the newest checkpoint.

        Raises:
            RunError: there is none, or it is older.
        """
        self.require_learned(folder)
        if self.record is None or self.record.learned < self.last.number:
            raise RunError(
                f"{folder.path} was cut before what it learned last was recorded, or an older record stands in its "
                f"place; `plora resume {folder.path}` first"
            )
        return self.record


def read_agreed(folder: RunFolder, to_answer: bool = False) -> Agreed:
    """Read config, record and checkpoints of a run, and compare them and environment.json with each other.

    Args:
        folder: of the run.
        to_answer: nothing will be learned, so strategies of the user's own are not needed.

    Raises:
        RunError: one is damaged, of another run or of another moment; says which, and what contradicts it.
    """
    config = folder.read_config(to_answer)
    record = read_record(folder.path) if folder.inside(RESULTS_FILE).exists() else None
    costs, last = [], NOTHING
    for last in read_chain(folder.path):
        costs.append(last.cost)
    if record is not None:
        _require_record(folder, config, record, {"strategies"} if to_answer else set())
        require_checkpoints(folder, record)
        if list(record.cost) != costs[: len(record.cost)]:
            raise RunError(
                f"{folder.inside('costs.json')} does not have the costs that the checkpoints have; restore it from a "
                "copy of the run"
            )
    if folder.environment.exists():
        for task, names in folder.read_environment().stream.labels.items():
            if last.number and task in last.labels and [*last.labels[task]] != names:
                raise RunError(
                    f"{folder.manifest(last.number)} and {folder.environment} name other labels for task '{task}'; "
                    "restore them from a copy of the run"
                )
    if last.number:
        _require_rows(folder, config, last)
    return Agreed(config, record, last)


def _require_rows(folder: RunFolder, config: RunConfig, last: Checkpoint) -> None:
    """Refuse a checkpoint whose head has other rows than the labels of the tasks that it has rows for, or lacks some.

    Those are the tasks that were learned, and where the rows of all compete, all of the stream.
    """
    learned = {*last.tasks, *last.forgotten}
    whole = config.scenario == "class" and config.resolved_loss_rows() == "all"
    having = {*last.labels} if whole else learned
    space = LabelSpace.lay_out({task: names for task, names in last.labels.items() if task in having}, config.scenario)
    expected = {block: rows.stop - rows.start for block, rows in space.rows.items()}
    if learned - last.labels.keys() or dict(last.blocks) != expected:
        raise RunError(
            f"{folder.manifest(last.number)} is damaged: the rows of its head ({_counted(last.blocks)}) are not the "
            f"labels of its tasks ({_counted(expected)}); restore it from a copy of the run"
        )


def _counted(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{count} for '{block}'" for block, count in rows.items()) or "none"


def require_checkpoints(folder: RunFolder, record: RunRecord) -> None:
    """Refuse a run without the checkpoint of a score: a copy that was cut, which would pass for a shorter run.

    Raises:
        RunError: names the manifest that is missing.
    """
    measured = [number for number, status in enumerate(record.status, start=1) if status == "evaluated"]
    if missing := sorted(set(measured) - set(folder.complete())):
        raise RunError(
            f"{folder.manifest(missing[-1])} is missing, and the record says that the task was learned; "
            "restore it from a copy of the run"
        )


def _require_record(folder: RunFolder, config: RunConfig, record: RunRecord, unread: Set[str]) -> None:
    said = {
        "name": (config.name, record.name),
        "method": (config.label, record.method),
        "scenario": (config.scenario, record.scenario),
        "seed": (config.seed, record.seed),
        "problem": (config.problem.kind, record.problem),
    }
    now = config.settings()
    said |= {
        key: (now[key], value) for key, value in record.settings.items() if key in now.keys() - unread and record.run
    }
    for key, (expected, found) in said.items():
        if _contradicts(expected, found):
            raise RunError(
                f"{folder.inside(RESULTS_FILE)} is of a run with {key}={found!r}, and {folder.config} says "
                f"{expected!r}; restore the one that is not this run's from a copy"
            )
    splits = folder.read_environment().stream.splits
    for data in record.data:
        if data.task not in splits or dict(data.fingerprints) != splits[data.task]:
            raise RunError(
                f"{folder.inside(RESULTS_FILE)} and {folder.environment} were made with other data of task "
                f"'{data.task}'; restore the one that is not this run's from a copy"
            )
    known = [task for task in splits if task in record.tasks]
    if known != [*record.tasks]:
        raise RunError(
            f"{folder.inside(RESULTS_FILE)} has the tasks {', '.join(record.tasks)}, and {folder.environment} has "
            f"{', '.join(splits)}; restore the one that is not this run's from a copy"
        )


def _contradicts(one: object, other: object) -> bool:
    """Whether two values differ; of two mappings, where both have a key, for a later version may have new ones."""
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_contradicts(one[key], other[key]) for key in one.keys() & other.keys())
    return one != other
