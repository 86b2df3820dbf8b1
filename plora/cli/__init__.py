"""The `plora` command: one small file per verb, no logic.

Heavy imports happen inside the verbs, so that `plora --help` and `plora ls` answer at once.
"""

import errno
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated

import typer

from plora.cli import (
    cascade,
    cp,
    evaluate,
    export,
    extend,
    forget,
    generate,
    ls,
    metrics,
    params,
    predict,
    pretrain,
    report,
    resume,
    run,
    sweep,
    table,
    validate,
    verify,
)
from plora.cli.saying import say
from plora.errors import ConfigError, PloraError, PloraWarning, RunError
from plora.version import __version__

_REMEDIES = {
    errno.ENOSPC: "make room there, or choose another place",
    errno.EDQUOT: "make room there, or choose another place",
    errno.EROFS: "nothing can be written there; choose another place",
    errno.EACCES: "you have no right to it; choose another place, or have it given to you",
    errno.EPERM: "you have no right to it; choose another place, or have it given to you",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another place",
    errno.EEXIST: "a file stands where a folder is needed; choose another place",
    errno.EISDIR: "a folder stands where a file is needed; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do about an error of the system."""

app = typer.Typer(
    name="plora",
    help="Parameter-efficient continual learning: one frozen network, task after task, without forgetting.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
VERBS: dict[str, Callable[..., None]] = {
    "run": run.command,
    "resume": resume.command,
    "pretrain": pretrain.command,
    "sweep": sweep.command,
    "extend": extend.command,
    "forget": forget.command,
    "evaluate": evaluate.command,
    "verify": verify.command,
    "predict": predict.command,
    "generate": generate.command,
    "params": params.command,
    "report": report.command,
    "metrics": metrics.command,
    "table": table.command,
    "export": export.command,
    "ls": ls.command,
    "cp": cp.command,
    "validate": validate.command,
}
_TOGETHER = ("run", "resume", "extend")
"""Verbs that several processes can do together."""
_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""
_PATIENCE = 10.0
"""Seconds until a process that is not the first of its machine says its own mistake."""
for name, verb in VERBS.items():
    app.command(name)(verb)
GROUPS: dict[str, typer.Typer] = {"cascade": cascade.app}
"""Verbs that have verbs of their own."""
for name, group in GROUPS.items():
    app.add_typer(group, name=name, help="A tree of tasks as one classifier: evaluate, route, table.")


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"plora {__version__}")
        raise typer.Exit


@app.callback()
def _check(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    count = int(os.environ.get("WORLD_SIZE", 1)) if "LOCAL_RANK" in os.environ else 1
    if count > 1 and context.invoked_subcommand not in _TOGETHER:
        verb = f"plora {context.invoked_subcommand}"
        raise ConfigError([f"{verb} is the work of one process, and {count} were started; leave torchrun out"])


def _shown_in_a_line(others: Callable[..., None]) -> Callable[..., None]:
    """What prints our own warnings as one line, without a place in the code, and leaves other ones to `others`."""

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        if issubclass(category, PloraWarning):
            say(f"warning: {message}", error=True)
        else:
            others(message, category, *place, **more)

    return show


def main() -> None:
    """Run the command line; a user's mistake ends in one clear line and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by who started this; a file that is opened next would take its place
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a text that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    if os.environ.get("RANK", "0") != "0":  # of several processes the main one speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    warnings.showwarning = _shown_in_a_line(warnings.showwarning)
    try:
        app(standalone_mode=True)
    except PloraError as error:
        _refuse(error)
    except OSError as error:
        _refuse(_of_the_system(error))
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            print("plora: interrupted", file=sys.stderr)
        raise
    finally:
        _hear_no_more()


def _hear_no_more() -> None:
    """Drop what nobody reads: at its end Python writes what is left for stdout, and fails where it is a broken pipe."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_the_system(error: OSError) -> RunError:
    """A full disk, a place without rights, a file where a folder is needed: which path, what, what to do."""
    place = error.filename2 or error.filename  # a rename names its target second
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "look at the path, or choose another")
    named = f"{os.fsdecode(place)}: " if isinstance(place, str | bytes | os.PathLike) else ""
    return RunError(f"{named}{reason}; {remedy}")


def _refuse(error: PloraError) -> None:
    """Say a mistake once: one that several processes find is said by the first of a machine, which ends them all."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(_PATIENCE)  # the launcher ends this process in the meantime, unless the mistake is its own
    say(*str(error).splitlines(), error=True)
    sys.exit(2)
