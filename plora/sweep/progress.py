"""How far one run of a sweep is: when it began, how it ended, and what it reached."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from plora.events.console import word
from plora.results import Metric, RunMetrics, Score, read_record
from plora.sweep.plan import SweepRun

Say = Callable[[str], None]


@dataclass
class Progress:
    """How far one run of a sweep is.

    Args:
        run: the run.
        state: `waiting`, `running`, `done`, `was done`, `failed`.
        failure: one line, when it failed.
        seconds: it took in this process.
        metric: what is said of it when it is done; where it has no value, the run failed.
    """

    run: SweepRun
    state: str = "waiting"
    failure: str = ""
    seconds: float = 0.0
    metric: str = "accuracy"
    started: float = field(default=0.0, repr=False)

    @property
    def over(self) -> bool:
        """Whether it is done or failed."""
        return self.state not in ("waiting", "running")

    def begin(self, say: Say) -> None:
        """Note that the run begins."""
        self.state, self.started = "running", time.perf_counter()
        say(f"event=run_start run={word(self.run.label)}")

    def end(self, failure: str, say: Say) -> None:
        """Note that the run ended, with one line if it failed."""
        self.seconds = time.perf_counter() - self.started
        value = None
        if not failure:
            found, _ = reached(self.run, self.metric)
            value, failure = found.value, why_not(found)
        self.state, self.failure = ("failed", failure) if failure else ("done", "")
        if failure:
            say(f"event=run_failed run={word(self.run.label)} reason={word(failure)}")
        else:
            on = "" if self.run.config.evaluation.split == "test" else "validation_"
            say(f"event=run_done run={word(self.run.label)} {on}{self.metric}={value:.4g} seconds={self.seconds:.0f}")


def reached(run: SweepRun, metric: str) -> tuple[Metric, Score]:
    """Return a metric of a complete run, with the reason where it has no value, and what the run's cells are.

    Raises:
        RunError: the run is damaged.
    """
    record = read_record(run.folder)
    return RunMetrics({run.folder: record})(record, metric), record.score


def why_not(found: Metric) -> str:
    """Return one line where a metric has no value; else nothing."""
    return "" if found.value is not None else f"{found.symbol} has no value: it {found.reason}"
