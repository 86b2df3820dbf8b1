"""Take a task out of a run."""

from pathlib import Path

from plora.errors import RunError, UnknownTaskError, did_you_mean
from plora.results.record.forgotten import write_forgotten
from plora.run_folder.agreement import read_agreed
from plora.run_folder.folder import RunFolder
from plora.run_folder.forgetting import finish_forgetting, plan_forgetting
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.runs.writing import own


def forget(path: Path, task: str) -> tuple[Path, ...]:
    """Take a task's slot and its rows of the head out of every checkpoint of a run.

    What other tasks learned stays bit for bit. The record of what was measured (`results.json`, `predictions/`) stays.
    The writing of `forgotten.json` decides; whatever is cut after it is finished by the next verb that writes.

    Args:
        path: the run folder.
        task: its name.

    Returns:
        Files of somebody else's that stand in folders which would have gone; they were left alone.

    Raises:
        UnknownTaskError: the run has not learned it.
        RunError: the method does not keep tasks apart; says why.
    """
    folder = RunFolder.existing(path)
    with own(folder):
        agreed = read_agreed(folder)
        config, last = agreed.config, agreed.require_checkpoint(folder)
        if task not in (*last.tasks, *last.forgotten):
            raise UnknownTaskError(
                f"no task '{task}'{did_you_mean(task, last.tasks)}; the run has learned: {', '.join(last.tasks)}"
            )
        if reason := config.row.entangled(config.scenario, config.resolved_gate()):
            raise RunError(f"task '{task}' cannot be forgotten: {reason}")
        # The checkpoint inside a task may hold what is to be forgotten; without it that task starts again.
        StepCheckpoint(folder.step, None, folder.run).clear()
        if task in last.tasks:
            gone = plan_forgetting(folder, task, str([*last.blocks].index(task)))
            write_forgotten(folder.path, gone, folder.run)
        return finish_forgetting(folder)
