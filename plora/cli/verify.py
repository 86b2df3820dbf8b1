"""`plora verify`: is a run what it says it is?"""

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(run: RunArgument) -> None:
    """Check every file against its hash, reload the last checkpoint, predict again, and compare with the record."""
    from plora.runs import verify

    result = verify(run)
    say(*result.problems)
    count = len(result.problems)
    found = "everything is as recorded" if not count else "1 problem" if count == 1 else f"{count} problems"
    say(
        f"{result.checkpoints} checkpoints, {result.files} files as they were written, {result.examples} examples "
        f"predicted again: {found}"
    )
    if count:
        raise typer.Exit(1)
