"""`plora forget`: take a task out of a run."""

from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(
    run: RunArgument,
    task: Annotated[str, typer.Option("--task", help="The task whose slot and head rows are removed.")],
) -> None:
    """Remove a task's slot and head rows from every checkpoint; refused where the method does not keep tasks apart.

    The record of what was measured stays.
    """
    from plora.runs import forget

    others = forget(run, task)
    for path in others:
        say(f"not of the run, and left alone: {path}")
    say(f"task '{task}' was taken out of {run}; what the other tasks learned is as it was")
