"""`plora report`: one page about one or more runs."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.saying import say


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: report.html in the first folder.")] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write every picture into this folder, as PNG and PDF.")
    ] = None,
) -> None:
    """Write one self-contained report.html with tables and pictures."""
    from plora.results import write_figures, write_report

    target = out or runs[0] / "report.html"
    found = write_report(runs, target)
    say(*found.left_out, *found.unfinished, error=True)
    say(f"{target}  ({len(found.runs)} run{'s' if len(found.runs) != 1 else ''})")
    if figures is not None:
        say(f"{figures}  ({len(write_figures(runs, figures))} files)")
