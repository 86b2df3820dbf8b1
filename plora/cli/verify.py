"""`plora verify`: is a run what it says it is?"""

from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(
    run: RunArgument,
    expect: Annotated[
        str | None,
        typer.Option("--expect", help="The root hash that the run told when it ended, or its model card holds."),
    ] = None,
) -> None:
    """Check every file against its hash, reload the last checkpoint, predict again, and compare with the record.

    Whoever edits a run can make its hashes anew; that of a root hash which you got from elsewhere cannot be.
    """
    from plora.runs import verify

    result = verify(run, expect)
    say(*result.problems)
    count = len(result.problems)
    found = "everything is as recorded" if not count else "1 problem" if count == 1 else f"{count} problems"
    say(
        f"{result.checkpoints} checkpoints, {result.files} files as they were written, {result.examples} examples "
        f"predicted again: {found}"
    )
    for name in result.others:
        say(f"not of the run, and left alone: {name}")
    if result.root is not None:
        say(f"root hash: {result.root}")
    if count:
        raise typer.Exit(1)
