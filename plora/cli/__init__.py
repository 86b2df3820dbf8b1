"""The `plora` command: one small file per verb, no logic.

Heavy imports happen inside the verbs, so that `plora --help` and `plora ls` answer at once.
"""

import os
import sys
from collections.abc import Callable

import typer

from plora.cli import cp, evaluate, ls, params, predict, report, run, validate
from plora.errors import PloraError

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
    "evaluate": evaluate.command,
    "predict": predict.command,
    "params": params.command,
    "report": report.command,
    "ls": ls.command,
    "cp": cp.command,
    "validate": validate.command,
}
for name, verb in VERBS.items():
    app.command(name)(verb)


def main() -> None:
    """Run the command line; a user's mistake ends in one clear line and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        app(standalone_mode=True)
    except PloraError as error:
        for line in str(error).splitlines():
            print(f"plora: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("plora: interrupted", file=sys.stderr)
        sys.exit(130)
