"""`plora table`: one table about one or more runs, for the terminal, for programs or for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.saying import say


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders, or folders that hold some.")],
    kind: Annotated[
        str,
        typer.Option(
            help="`methods`: mean ± standard deviation over seeds and orders; `differences`: paired tests between "
            "methods; `runs`: a row per run; `costs`: what predictions of each method take; of one run `matrix`, "
            "`slots`: opened, active and pruned after each task, or `steps`: mean IoU of old and new classes."
        ),
    ] = "methods",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric by symbol or name, several times for several; default: those of the accuracy matrix (with "
            "`differences` ACC). `plora metrics RUN` names all of them."
        ),
    ] = None,
    against: Annotated[str | None, typer.Option(help="With `differences`: compare all others with this one.")] = None,
    format: Annotated[str, typer.Option(help="`markdown`, `csv` or `latex`.")] = "markdown",
    standalone: Annotated[bool, typer.Option("--standalone", help="With `latex`: a whole document.")] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write; default: stdout.")] = None,
) -> None:
    """Print a table of methods, their differences or costs, of runs, or the matrix, slots or steps of one run."""
    from plora.atomic import write_text
    from plora.results import write_table

    text, found = write_table(runs, kind, metric, format, standalone, against)
    say(*found.left_out, *found.unfinished, error=True)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        say(str(out))
