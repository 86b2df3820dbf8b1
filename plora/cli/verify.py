"""`plora verify`: is a run what it says it is?"""

import typer

from plora.cli.arguments import RunArgument


def command(run: RunArgument) -> None:
    """Check every file against its hash, reload the last checkpoint, predict again, and compare with the record."""
    from plora.runs import verify

    result = verify(run)
    for problem in result.problems:
        typer.echo(problem)
    typer.echo(
        f"{result.checkpoints} checkpoints, {result.files} files as they were written, {result.examples} examples "
        f"predicted again: {f'{len(result.problems)} problems' if result.problems else 'everything is as recorded'}"
    )
    if result.problems:
        raise typer.Exit(1)
