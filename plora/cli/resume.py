"""`plora resume`: go on with a run that was cut."""

import typer

from plora.cli.arguments import RunArgument


def command(run: RunArgument) -> None:
    """Go on with a run from where it was cut; it ends with the same bits as if nothing had happened."""
    from plora.runs import resume

    typer.echo(resume(run))
