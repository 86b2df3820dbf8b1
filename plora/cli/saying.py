"""What the verbs print, but for tables and JSON: lines in which everything can be seen."""

import typer

from plora.shown import visible


def say(*lines: str, error: bool = False) -> None:
    """Print lines, each escaped once; an `error` goes to stderr and begins with the program's name."""
    for line in lines:
        typer.echo(f"plora: {visible(line)}" if error else visible(line), err=error)
