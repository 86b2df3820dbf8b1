"""How far a sweep is: the state of each run, and the table that shows them all."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console as RichConsole
from rich.live import Live
from rich.table import Table

from plora.errors import RunError
from plora.results import RunRecord, read_record
from plora.sweep.plan import SweepConfig, SweepRun
from plora.training.folder import RunFolder

Say = Callable[[str], None]


@dataclass
class Progress:
    """How far one run of a sweep is.

    Args:
        run: the run.
        state: `waiting`, `running`, `done`, `was done`, `failed`.
        failure: one line, when it failed.
        seconds: it took in this process.
    """

    run: SweepRun
    state: str = "waiting"
    failure: str = ""
    seconds: float = 0.0
    started: float = field(default=0.0, repr=False)

    def begin(self, say: Say) -> None:
        """Note that the run begins."""
        self.state, self.started = "running", time.perf_counter()
        say(f"event=run_start run={_word(self.run.label)}")

    def end(self, failure: str, say: Say) -> None:
        """Note that the run ended, with one line if it failed."""
        self.seconds = time.perf_counter() - self.started
        self.state, self.failure = ("failed", failure) if failure else ("done", "")
        if failure:
            say(f"event=run_failed run={_word(self.run.label)} reason={_word(failure)}")
        else:
            accuracy = read_record(self.run.folder).metrics["accuracy"].value
            say(f"event=run_done run={_word(self.run.label)} accuracy={accuracy:.4g} seconds={self.seconds:.0f}")


@contextmanager
def shown(config: SweepConfig, progress: Sequence[Progress], live: bool | None) -> Iterator[Say]:
    """Show all runs: a live table on a terminal; in a pipe a line for each event, and the table at the end."""
    console = RichConsole(highlight=False)
    started = time.perf_counter()

    def picture() -> Table:
        return table(config, progress, time.perf_counter() - started)

    if console.is_terminal if live is None else live:
        with Live(get_renderable=picture, console=console, refresh_per_second=1):
            yield lambda _: None
    else:
        yield lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
        console.print(picture())


def table(config: SweepConfig, progress: Sequence[Progress], seconds: float) -> Table:
    """Return all runs of a sweep with their state, how far each is, and what it reached."""
    over = sum(item.state not in ("waiting", "running") for item in progress)
    title = f"{config.name}: {over} of {len(progress)} runs, {seconds / 60:.1f} min"
    took = [item.seconds for item in progress if item.state == "done"]
    left = len(progress) - over
    if took and left:
        at_once = max(1, sum(item.state == "running" for item in progress))
        title += f", about {left * sum(took) / len(took) / at_once / 60:.0f} min left"
    shown = Table(title=title, title_justify="left", title_style="bold")
    for head in ("run", "state", "tasks", "ACC %", "BWT", "seconds"):
        shown.add_column(head, justify="left" if head in ("run", "state") else "right")
    for item in progress:
        record = _record(item.run.folder)
        tasks = "" if record is None else f"{_learned(item.run.folder)}/{len(record.tasks)}"
        done = record is not None and item.state in ("done", "was done")
        metrics = [_percent(record, name) if done else "" for name in ("accuracy", "backward_transfer")]
        shown.add_row(item.run.label, item.state, tasks, *metrics, f"{item.seconds:.0f}" if item.seconds else "")
    for text in config.planned:
        shown.add_row(text, "not there yet", "", "", "", "")
    return shown


def _record(folder: Path) -> RunRecord | None:
    try:
        return read_record(folder)
    except RunError:
        return None


def _learned(folder: Path) -> int:
    complete = RunFolder(folder).complete()
    return complete[-1] if complete else 0


def _percent(record: RunRecord | None, name: str) -> str:
    assert record is not None
    value = record.metrics[name].value
    return "n/a" if value is None else f"{100 * value:.1f}"


def _word(text: str) -> str:
    return "_".join(text.split())
