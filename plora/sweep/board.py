"""The tables of a sweep while it goes on: its searches, scored on validation, and apart from them its runs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.table import Table

from plora.errors import RunError
from plora.events.console import tell
from plora.results import RunRecord, read_record
from plora.run_folder.folder import RunFolder
from plora.shown import visible
from plora.sweep.plan import SweepConfig
from plora.sweep.progress import Progress, Say
from plora.sweep.study import Study


@contextmanager
def shown(
    config: SweepConfig, progress: Sequence[Progress], studies: Sequence[Study], live: bool | None
) -> Iterator[Say]:
    """Show all runs: live tables on a terminal; in a pipe a line for each event, and the tables at the end."""
    console = RichConsole(highlight=False, markup=False, emoji=False)  # "targets=[query]" is a label and no markup
    started = time.perf_counter()

    def picture() -> Group:
        return tables(config, progress, studies, time.perf_counter() - started)

    if console.is_terminal if live is None else live:
        with Live(get_renderable=picture, console=console, refresh_per_second=1):
            yield lambda _: None
    else:
        yield lambda line: tell(f"{time.strftime('%H:%M:%S')} {line}")
        with suppress(OSError, ValueError, SystemExit):  # rich ends the program where nobody reads; a report follows
            console.print(picture())


def tables(config: SweepConfig, progress: Sequence[Progress], studies: Sequence[Study], seconds: float) -> Group:
    """Return the studies of a sweep, where it has some, and its runs, with how far each is and what it reached."""
    trials = [trial.progress for study in studies for trial in study.trials]
    asked = sum(study.search.total for study in studies)
    over = sum(item.over for item in progress)
    done = f"{over} of {len(progress)} runs"
    if studies:
        done = f"{sum(item.over for item in trials)} of {asked} trials, {done}"
    title = f"{config.name}: {done}, {seconds / 60:.1f} min{_time_left([*trials, *progress], asked + len(progress))}"
    parts = [_runs(config, progress, "" if studies else title)]
    return Group(*([_studies(studies, title)] if studies else []), *parts)


def _time_left(items: Sequence[Progress], total: int) -> str:
    """How long it will take by the runs that were done here; `total` counts what nobody has asked for yet, too."""
    took = [item.seconds for item in items if item.state == "done"]
    left = total - sum(item.over for item in items)
    at_once = max(1, sum(item.state == "running" for item in items))
    return f", about {left * sum(took) / len(took) / at_once / 60:.0f} min left" if took and left else ""


def _studies(studies: Sequence[Study], title: str) -> Table:
    """What is searched: a row for each study, below it the trials that are running."""
    shown = _table(title, "search", "state", "trials", "tasks", f"best validation {studies[0].head}", "seconds")
    for study in studies:
        over = [trial for trial in study.trials if trial.over]
        failed = sum(bool(trial.failure) for trial in over)
        running = [trial for trial in study.trials if trial.progress.state == "running"]
        state = "chosen" if study.chosen else "failed" if study.failure else "running" if running else "waiting"
        best = study.score.text(study.ranked[0].value) if study.ranked else ""
        seconds = sum(trial.progress.seconds for trial in study.trials)
        counts = f"{len(over)}/{study.search.total}" + (f", {failed} failed" if failed else "")
        shown.add_row(visible(study.label), state, counts, "", best, f"{seconds:.0f}" if seconds else "")
        for trial in running:
            shown.add_row(f"  trial {trial.number}", "running", "", _tasks(trial.progress), "", "")
    return shown


def _runs(config: SweepConfig, progress: Sequence[Progress], title: str) -> Table:
    records = {id(item): _record(item.run.folder) if item.state in ("done", "was done") else None for item in progress}
    scores = {record.score for record in records.values() if record is not None}
    other = " or ".join(sorted(score.unit or score.title for score in scores if not score.percent))
    percent = "%" if not other or any(score.percent for score in scores) else ""
    shown = _table(
        title, "run", "state", "tasks", f"ACC {' or '.join(filter(None, (percent, other)))}", "BWT", "seconds"
    )
    for item in progress:
        record = records[id(item)]
        metrics = [_text(record, name) for name in ("accuracy", "backward_transfer")]
        seconds = f"{item.seconds:.0f}" if item.seconds else ""
        shown.add_row(visible(item.run.label), item.state, _tasks(item), *metrics, seconds)
    for text in config.planned:
        shown.add_row(visible(text), "not there yet", "", "", "", "")
    return shown


def _table(title: str, *heads: str) -> Table:
    table = Table(title=visible(title) or None, title_justify="left", title_style="bold")
    for position, head in enumerate(heads):
        table.add_column(head, justify="left" if position < 2 else "right")
    return table


def _tasks(item: Progress) -> str:
    """How many tasks a run has learned."""
    record = _record(item.run.folder)
    if record is None:
        return ""
    complete = RunFolder(item.run.folder).complete()
    return f"{complete[-1] if complete else 0}/{len(record.tasks)}"


def _record(folder: Path) -> RunRecord | None:
    try:
        return read_record(folder)
    except RunError:
        return None


def _text(record: RunRecord | None, name: str) -> str:
    if record is None:
        return ""
    metric = record.metrics[name]
    return metric.score.text(metric.value)
