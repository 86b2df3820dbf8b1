"""What a run makes of data that it never learned, before its first task and after each: what its base forgets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from plora.batches.data import EncodedTask
from plora.batches.evaluate import measure
from plora.build import Workspace, assemble
from plora.errors import RunError
from plora.results import Measurements, Score
from plora.results.record.manifest import NOTHING, read_next
from plora.run_folder.agreement import read_agreed
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs.loading import require_backbone
from plora.streams.base import StreamSource
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class Elsewhere:
    """Test splits of a stream that a run has not learned, scored with each of its states.

    Args:
        score: what the values are.
        rows: by what was learned last (`before any task` first), what was measured of each task of the stream.
    """

    score: Score
    rows: Mapping[str, Mapping[str, Measurements]]

    def values(self) -> dict[str, dict[str, float]]:
        """Return the score of each task in each row."""
        return {
            row: {task: found.value(self.score) for task, found in tasks.items()} for row, tasks in self.rows.items()
        }


BEFORE = "before any task"
"""The first row: the backbone as it was."""


def evaluate_on(
    path: Path, source: StreamSource, progress: Callable[[str, int, int], None] = lambda what, done, of: None
) -> Elsewhere:
    """Score the test splits of another stream with the backbone of a run, and with its model after each of its tasks.

    Where the gate keeps a slot per task, text of no task has none, and each row is the first.

    Args:
        path: the run folder; nothing in it changes.
        source: of the other stream.
        progress: is told what is scored, how many states were and how many there are.

    Raises:
        RunError: the run's problem has classes, of which other data have others, or the run is damaged.
        DataError: the stream is none of the run's problem.
    """
    folder = RunFolder.existing(path)
    agreed = read_agreed(folder)
    agreed.require_learned(folder)
    require_backbone(folder)
    learner = assemble(agreed.config, Workspace(), folder.made_in)
    problem, gate = learner.model.problem, learner.model.gate
    if problem.has_rows:
        raise RunError(
            f"{path} classifies, and data that it has not learned have classes that it does not know; give a run of a "
            "language model"
        )
    stream = source.load()
    problem.check(stream, "task")
    tasks = [EncodedTask(task.name, 0, {"test": problem.encode(task.test)}) for task in stream.tasks]
    space = LabelSpace.lay_out({task.name: () for task in tasks}, "task")

    per_task = gate is not None and gate.needs_task

    def row() -> dict[str, Measurements]:
        return {
            task.name: measure(learner.extractor, task, "test", task.name if per_task else None, space, ())
            for task in tasks
        }

    states = folder.complete()
    progress(BEFORE, 0, len(states) + 1)
    rows, now = {BEFORE: row()}, NOTHING
    for position, number in enumerate(states, start=1):
        now = read_next(folder.path, now, number)
        name = f"after {now.tasks[-1]}" if now.tasks else f"after {number} tasks"
        progress(name, position, len(states) + 1)
        if per_task:
            rows[name] = rows[BEFORE]
            continue
        load_checkpoint(folder, now, learner)
        rows[name] = row()
    return Elsewhere(problem.score, rows)
