"""Doing a sweep: what is complete is skipped, what was cut goes on, what fails is said at the end and stops nobody."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from plora import atomic
from plora.build import Workspace
from plora.errors import PloraError
from plora.results import write_report
from plora.runs import resume, run
from plora.sweep.plan import SweepConfig, SweepRun, plan_runs
from plora.sweep.progress import Progress, shown
from plora.training.console import Console, Field


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did.

    Args:
        folder: of all its runs.
        done, skipped: runs that were learned now, and those that were complete before.
        failures: label → one line.
    """

    folder: Path
    done: int
    skipped: int
    failures: dict[str, str]


class _Silent(Console):
    """A console that only writes the run's log: the sweep's table shows the rest."""

    def __init__(self) -> None:
        super().__init__(live=False)

    def event(self, name: str, **fields: Field) -> None:
        self._write_log(f"event={name} " + " ".join(f"{key}={value}" for key, value in fields.items()))

    def progress(self, what: str, done: int, total: int, seconds_left: float | None = None, **fields: Field) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def learn(one: SweepRun, workspace: Workspace) -> str:
    """Start a run or go on with it; returns one line when it failed, else nothing.

    Whatever happens inside a run stays there: an error of plora is its line, any other is named, and its traceback is
    kept in `error.txt` beside the run.
    """
    try:
        if one.state() == "new":
            run(one.config, _Silent(), workspace)
        else:
            resume(one.folder, _Silent(), workspace)
    except PloraError as error:
        return " ".join(str(error).split())
    except Exception as error:
        place = one.folder.with_name(f"{one.folder.name}-error.txt")
        atomic.write_text(place, traceback.format_exc())
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} (traceback in {place})"
    return ""


def sweep(
    config: SweepConfig,
    workers: int = 1,
    cpus_per_run: float = 1,
    gpus_per_run: float = 0,
    address: str | None = None,
    live: bool | None = None,
) -> SweepResult:
    """Do every run of a sweep that is not complete, and write one report over all of them.

    Args:
        config: of the sweep.
        workers: processes; 1 does one run after the other in this process, more need Ray.
        cpus_per_run, gpus_per_run: what each worker is given.
        address: of a Ray cluster; None starts a local one.
        live: show a live table; None decides by whether stdout is a terminal.

    Raises:
        ConfigError: a run's settings; every mistake of every run.
        RunError: a folder holds another run, or Ray is missing.
    """
    runs = plan_runs(config)
    progress = [Progress(one) for one in runs]
    for item in progress:
        if item.run.state() == "complete":
            item.state = "was done"
    waiting = [item for item in progress if item.state == "waiting"]
    with shown(config, progress, live) as say:
        if workers == 1 and address is None:
            workspace = Workspace()
            for item in waiting:
                item.begin(say)
                item.end(learn(item.run, workspace), say)
        elif waiting:
            from plora.sweep.ray_workers import learn_on_ray

            learn_on_ray(waiting, workers, cpus_per_run, gpus_per_run, address, say)
    folder = config.output / config.name
    if whole := [item.run.folder for item in progress if item.state != "failed"]:
        write_report(whole, folder / "report.html")
    return SweepResult(
        folder,
        sum(item.state == "done" for item in progress),
        sum(item.state == "was done" for item in progress),
        {item.run.label: item.failure for item in progress if item.state == "failed"},
    )
