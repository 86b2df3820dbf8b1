"""Doing a sweep: what is complete is skipped, what was cut goes on, what fails is said at the end and stops nobody.

Settings that are searched are chosen first, on validation data; then every run is made, and test is scored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plora.build import Workspace
from plora.errors import RunError
from plora.results import write_report
from plora.sweep.board import shown
from plora.sweep.findings import write_findings
from plora.sweep.one_run import learn
from plora.sweep.plan import SweepConfig, plan_runs
from plora.sweep.progress import Progress, Say
from plora.sweep.ray_workers import RayWorkers
from plora.sweep.study import Study, plan_studies


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did.

    Args:
        folder: of all its runs.
        done, skipped: runs and trials that were learned now, and those that were complete before.
        failures: label → one line.
        studies: what was searched, and chosen.
    """

    folder: Path
    done: int
    skipped: int
    failures: dict[str, str]
    studies: Sequence[Study] = ()


class Workers(Protocol):
    """What does runs."""

    def learn(self, items: Sequence[Progress], say: Say) -> None:
        """Do runs; each ends with what it reached, or one line why it failed."""
        ...

    def __enter__(self) -> "Workers": ...

    def __exit__(self, *_: object) -> None: ...


class Here:
    """One run after the other, in this process."""

    def __init__(self) -> None:
        self._workspace = Workspace()

    def __enter__(self) -> "Here":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def learn(self, items: Sequence[Progress], say: Say) -> None:
        """Do runs; each ends with what it reached, or one line why it failed."""
        for item in items:
            item.begin(say)
            item.end(learn(item.run, self._workspace), say)


def sweep(
    config: SweepConfig,
    workers: int = 1,
    cpus_per_run: float = 1,
    gpus_per_run: float = 0,
    address: str | None = None,
    live: bool | None = None,
) -> SweepResult:
    """Choose what is searched, do every run of a sweep that is not complete, and write one report over all of them.

    Args:
        config: of the sweep.
        workers: processes; 1 does one run after the other in this process, more need Ray.
        cpus_per_run, gpus_per_run: what each worker is given.
        address: of a Ray cluster; None starts a local one.
        live: show a live table; None decides by whether stdout is a terminal.

    Raises:
        ConfigError: a run's settings, or what is searched; every mistake of every run.
        RunError: a folder holds another run, or Ray is missing.
    """
    progress = [Progress(run) for run in plan_runs(config)]
    studies = plan_studies(config)
    of_study = {study.label: [item for item in progress if item.run.study == study.label] for study in studies}
    for study in studies:
        if study.over:
            _conclude(study, of_study[study.label])
    for item in progress:
        if item.run.study is None and item.run.state() == "complete":
            item.state = "was done"
    if workers == 1 and address is None:
        team: Workers = Here()
    else:
        team = RayWorkers(workers, cpus_per_run, gpus_per_run, address)
    with shown(config, progress, studies, live) as say, team:
        while this_round := {study.label: waiting for study in studies if (waiting := study.waiting())}:
            team.learn([trial.progress for trials in this_round.values() for trial in trials], say)
            for study in studies:
                for trial in this_round.get(study.label, []):
                    trial.settle()
                if study.label in this_round and study.over:
                    _conclude(study, of_study[study.label])
        team.learn([item for item in progress if item.state == "waiting"], say)
    folder = config.output / config.name
    if whole := [item.run.folder for item in progress if item.state != "failed"]:
        write_report(whole, folder / "report.html")
    everything = [*(trial.progress for study in studies for trial in study.trials), *progress]
    return SweepResult(
        folder,
        sum(item.state == "done" for item in everything),
        sum(item.state == "was done" for item in everything),
        {item.run.label: item.failure for item in everything if item.state == "failed"},
        studies,
    )


def _conclude(study: Study, items: Sequence[Progress]) -> None:
    """Write down what a study found, and give its final runs the settings that it chose."""
    write_findings(study)
    for item in items:
        if study.failure:
            item.state, item.failure = "failed", study.failure
            continue
        item.run = study.final(item.run)
        try:
            item.state = "was done" if item.run.state() == "complete" else "waiting"
        except RunError as error:  # settings that were chosen from other trials: they have seen the test split
            item.state, item.failure = "failed", str(error)


def planned_lines(config: SweepConfig) -> list[str]:
    """Return one line for each study and each run of a sweep, with how far it is; does nothing.

    Raises:
        ConfigError: as `sweep`.
        RunError: a folder holds another run.
    """
    lines = []
    studies = {study.label: study for study in plan_studies(config)}
    for study in studies.values():
        total, at_once = study.search.total, study.search.at_once
        done = sum(trial.over for trial in study.trials)
        lines.append(
            f"{'search':9} {study.label}: {total} trials in {math.ceil(total / at_once)} rounds, {done} done  "
            f"{study.trials_folder}"
        )
    for one in plan_runs(config):
        of = studies.get(one.study or "")
        if of is None or of.chosen:
            state = (of.final(one) if of else one).state()
        else:
            state = "failed" if of.failure else "waits"
        lines.append(f"{state:9} {one.label}  {one.folder}")
    return lines + [f"{'planned':9} {text}" for text in config.planned]
