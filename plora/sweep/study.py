"""One study of a search: its trials in rounds, what each reached on the validation split, and which is chosen."""

import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from plora.config import load_config, put
from plora.errors import RunError
from plora.results import ACCURACY, Further, MatrixMetric, Score, definitions
from plora.run_folder.folder import RunFolder
from plora.sealed import read_sealed, write_sealed
from plora.sweep.plan import SweepConfig, SweepRun, file_name, plan_runs
from plora.sweep.progress import Progress, reached, why_not
from plora.sweep.sampler import Settings, ask
from plora.sweep.search import SearchConfig

_FAILED_FILE = "failed.json"


@dataclass
class Trial:
    """One try of a study: a run that is scored on the validation split.

    Args:
        number: from 0, in the order in which they were asked for.
        settings: what was tried, by key.
        progress: how far it is.
        value: what it reached, once it is over and did not fail.
        cells: what a cell of its matrix is, as its record says.
    """

    number: int
    settings: Settings
    progress: Progress
    value: float | None = None
    cells: Score | None = None

    @property
    def over(self) -> bool:
        """Whether it reached a value or failed."""
        return self.value is not None or bool(self.failure)

    @property
    def failure(self) -> str:
        """One line, when it failed."""
        return self.progress.failure

    @property
    def _failed_file(self) -> Path:
        return self.progress.run.folder.parent.parent / _FAILED_FILE

    def _config(self) -> JsonValue:
        config: JsonValue = self.progress.run.config.model_dump(mode="json")
        return config

    def read(self) -> None:
        """Take over what is on disk.

        Raises:
            RunError: the folder holds a run of other settings, or is damaged.
        """
        if self.progress.run.state() == "complete":
            reason = self._take()
            self.progress.state, self.progress.failure = ("failed", reason) if reason else ("was done", "")
        elif self._failed_file.exists():
            stored = read_sealed(self._failed_file)
            if stored.get("config") != self._config():
                raise RunError(
                    f"{self._failed_file} is of a run of other settings; give the sweep another name, or remove "
                    "that folder"
                )
            self.progress.state, self.progress.failure = "failed", str(stored.get("failure"))

    def settle(self) -> None:
        """Take over how it ended in this process.

        A failure is kept: later trials are chosen knowing of it, and would be others if it were tried again.

        Raises:
            RunError: another process is doing this trial, so it is for that one to say how it ends.
        """
        if self.failure:
            folder = RunFolder(self.progress.run.folder)
            with folder.lock() if folder.path.is_dir() else nullcontext():
                write_sealed(self._failed_file, {"failure": self.failure, "config": self._config()})
        else:
            self._take()

    def _take(self) -> str:
        """Take over what a complete run reached; returns why there is nothing."""
        found, self.cells = reached(self.progress.run, self.progress.metric)
        self.value = found.value
        return why_not(found)


@dataclass
class Study:
    """The search for the settings of final runs that differ in nothing but seed and order, of tasks or of classes.

    Args:
        label: what the final runs have in common, such as `method=o_lora`.
        folder: of all studies of the sweep.
        search: what is searched.
        runs: the final runs, before their settings are chosen.
        trials: those asked for so far.
    """

    label: str
    folder: Path
    search: SearchConfig
    runs: Sequence[SweepRun]
    trials: list[Trial] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of its files."""
        return file_name(self.label, self.label)

    @property
    def over(self) -> bool:
        """Whether every trial is over."""
        return len(self.trials) == self.search.total and all(trial.over for trial in self.trials)

    def waiting(self) -> list[Trial]:
        """Return the trials to do now: those of the current round that are not over; none when the study is over.

        Raises:
            RunError: a trial's folder holds a run of other settings, or is damaged.
        """
        while True:
            waiting = [trial for trial in self.trials if not trial.over]
            if waiting or len(self.trials) >= self.search.total:
                return waiting
            for settings in ask(
                self.search, [(trial.settings, trial.value) for trial in self.trials], self.score.better
            ):
                self.trials.append(self._trial(len(self.trials), settings))
                try:
                    self.trials[-1].read()
                except RunError as error:
                    raise RunError(f"{error} (to search anew: all of {self.trials_folder})") from None

    @property
    def score(self) -> Score:
        """What its values are, and which of them is best: the trials say it, whose problem the sweep does not know.

        Before any trial has reached a value nothing is ranked, and it is as of accuracies.
        """
        return self._searched.score

    @property
    def symbol(self) -> str:
        """Of what is searched."""
        return self._searched.symbol

    @property
    def _searched(self) -> MatrixMetric | Further:
        cells = (trial.cells for trial in self.trials if trial.cells is not None)
        return definitions(next(cells, ACCURACY))[self.search.metric]

    @property
    def head(self) -> str:
        """Its symbol and unit: "ACC %", "ACC, nats per byte"."""
        score, symbol = self.score, self.symbol
        if score.percent:
            return f"{symbol} %"
        return symbol if score.unit in ("", symbol) else f"{symbol}, {score.unit}"

    @property
    def ranked(self) -> list[Trial]:
        """The trials that reached a value, best first; of equal ones the earliest first."""
        sign = -self.score.sign
        reached = [trial for trial in self.trials if trial.value is not None]
        return sorted(reached, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def chosen(self) -> Trial | None:
        """The best trial, once the study is over; None before, and where every trial failed."""
        return self.ranked[0] if self.over and self.ranked else None

    @property
    def median(self) -> float:
        """The median value of the trials that reached one."""
        return statistics.median(trial.value for trial in self.trials if trial.value is not None)

    @property
    def failure(self) -> str:
        """Why there is nothing to choose from, once the study is over; else nothing."""
        if not self.over or self.chosen:
            return ""
        return (
            f"not made, because every trial of its search failed (the first: {self.trials[0].failure}); mend that, "
            f"remove {self.trials_folder} and start the sweep again"
        )

    @property
    def trials_folder(self) -> Path:
        """Folder of its trials; hidden, so that reports and tables of the sweep's folder are over final runs alone."""
        return self.folder / ".trials" / self.name

    def final(self, run: SweepRun) -> SweepRun:
        """Return a final run with the chosen settings, which scores the test split."""
        assert self.chosen is not None, "a study that is over"
        return self._with(run, self.chosen.settings, {"evaluation.split": "test"})

    def _trial(self, number: int, settings: Settings) -> Trial:
        own: dict[str, JsonValue] = {
            "evaluation.split": "validation",
            "seed": self.search.seed,
            "output": str(self.trials_folder),
            "name": f"trial-{number:02}",
        }
        run = replace(
            self._with(self.runs[0], self.search.settings, settings, own), label=f"search {self.label} trial={number}"
        )
        return Trial(number, settings, Progress(run, metric=self.search.metric))

    @staticmethod
    def _with(run: SweepRun, *changes: Settings) -> SweepRun:
        values: dict[str, object] = run.config.model_dump(mode="json")
        for change in changes:
            for key, value in change.items():
                put(values, key, value)
        return replace(run, config=load_config(values))


def plan_studies(sweep: SweepConfig) -> list[Study]:
    """Return the studies of a sweep, with every trial that can be known from what is on disk.

    Raises:
        ConfigError: as `plan_runs`.
        RunError: a trial's folder holds a run of other settings, or is damaged.
    """
    if sweep.search is None:
        return []
    runs: dict[str, list[SweepRun]] = {}
    for run in plan_runs(sweep):
        if run.study:
            runs.setdefault(run.study, []).append(run)
    folder = sweep.output / sweep.name / "search"
    studies = [Study(label, folder, sweep.search.of(same[0].config.method), same) for label, same in runs.items()]
    for study in studies:
        study.waiting()
    return studies
