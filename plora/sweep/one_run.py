"""One run of a sweep, in whatever process: what happens inside it stays there."""

import traceback

from plora import atomic
from plora.build import Workspace
from plora.errors import PloraError
from plora.events.console import Console, Field
from plora.runs import resume, run
from plora.sweep.plan import SweepRun


class _Silent(Console):
    """A console that only writes the run's log: the sweep's table shows the rest."""

    def __init__(self) -> None:
        super().__init__(live=False)

    def event(self, name: str, **fields: Field) -> None:
        self._log_event(name, fields)

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
