"""What a run says while it works: a live display on a terminal, one greppable line per event in a pipe.

Every event also goes to the run's log.txt, in the form of the pipe:

    12:03:41 event=task_done task=agnews accuracy=0.874 seconds=31.2
"""

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from plora.regular import open_file
from plora.results.tables.folding import FOLD, shown
from plora.shown import visible, visible_lines

Field = str | int | float | None

_QUIET_SECONDS = 5.0
"""In a pipe, progress lines are at least this far apart."""


def on_a_terminal() -> bool:
    """Say whether stdout is a terminal; there may be none, or one that was closed."""
    return sys.stdout is not None and not sys.stdout.closed and sys.stdout.isatty()


def tell(line: str) -> None:
    """Print to who still listens: work goes on where stdout is closed, full, or a pipe that nobody reads any more."""
    with suppress(OSError, ValueError):  # a ValueError where it was closed
        print(line, flush=True)


class Console:
    """Says what happens: `event` for things that happened, `progress` for how far the work is.

    Args:
        log: file to append every event to, or None.
        live: show a live display; None decides by whether stdout is a terminal.
        silent: say nothing: of several processes one speaks.
    """

    def __init__(self, log: Path | None = None, live: bool | None = None, silent: bool = False) -> None:
        self.log, self.silent = log, silent
        self.live = (on_a_terminal() if live is None else live) and not silent
        self._rich = RichConsole(highlight=False, emoji=False)  # a task may be called ":bug:"
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),  # names of tasks are not markup
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._rich,
            transient=True,
        )
        self._task = None if not self.live else self._bar.add_task("", visible=False, note="")
        self._spoke = float("-inf")

    def __enter__(self) -> "Console":
        if self.live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self._bar.stop()

    def event(self, name: str, **fields: Field) -> None:
        """Say that something happened: a line in a pipe and in the log, a readable line on a terminal."""
        if self.silent:
            return
        line = self._log_event(name, fields)
        if self.live:
            words = "  ".join(
                f"[dim]{escape(visible(key))}[/] {escape(_readable(value))}" for key, value in fields.items()
            )
            self._rich.print(f"[bold]{name.replace('_', ' ')}[/]  {words}")
        else:
            tell(f"{_clock()} {line}")

    def progress(self, what: str, done: int, total: int, seconds_left: float | None = None, **fields: Field) -> None:
        """Say how far the work is: a bar on a terminal, now and then a line in a pipe; not logged.

        Args:
            what: the work, such as `train agnews`.
            done, total: in optimizer steps or examples.
            seconds_left: of the whole run, when it can be told.
            fields: loss, speed and the like.
        """
        if self.silent:
            return
        left = None if seconds_left is None else _duration(seconds_left)
        if self.live and self._task is not None:
            note = "  ".join(f"{key} {_readable(value)}" for key, value in fields.items())
            note += f"  {left} left" if left else ""
            self._bar.update(
                self._task, description=visible(what), completed=done, total=total, note=note, visible=True
            )
        elif time.monotonic() - self._spoke > _QUIET_SECONDS:
            self._spoke = time.monotonic()
            words = " ".join(f"{key}={word(value)}" for key, value in fields.items())
            tell(f"{_clock()} event=progress doing={word(what)} done={done}/{total} {words} left={word(left)}")

    def say(self, text: str) -> None:
        """Print lines as they are: tables at the end of a run."""
        if self.silent:
            return
        if self.live:
            self._rich.print(visible_lines(text), markup=False)
        else:
            tell(visible_lines(text))

    def _log_event(self, name: str, fields: Mapping[str, Field]) -> str:
        """Write an event into the log; returns its line."""
        line = f"event={name} " + " ".join(f"{visible(key)}={word(value)}" for key, value in fields.items())
        if self.log is not None:
            with open_file(self.log, append=True) as file:
                file.write(f"{datetime.now().isoformat(timespec='seconds')} {line}\n".encode())
        return line


def _clock() -> str:
    return datetime.now().strftime("%H:%M:%S")


def word(value: Field) -> str:
    """Return a value as one visible word: numbers short, spaces in texts replaced, so that a line splits at spaces."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else "_".join(visible(str(value)).split()) or '""'


def entries(values: Mapping[str, float]) -> str:
    """Return numbers by name as one word, `food:0.45,travel:0.55`; of many the first and the last."""
    names = [*values]
    kept = [f"{word(names[at])}:{word(values[names[at]])}" for at in shown(len(names))]
    if len(kept) < len(names):
        kept.insert(len(kept) // 2, FOLD)
    return ",".join(kept)


def _readable(value: Field) -> str:
    return (
        f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else visible(str(value))
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
