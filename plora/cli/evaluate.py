"""`plora evaluate`: score a run again."""

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import visible


def command(run: RunArgument) -> None:
    """Load a run's last checkpoint, score every task it has learned again, and compare with its record."""
    from plora.runs import evaluate

    result = evaluate(run)
    tasks = [visible(task) for task in result.tasks]
    width = max(map(len, tasks))
    for task, now, before in zip(tasks, result.accuracy, result.recorded, strict=True):
        say(f"{task:<{width}}  {now:6.1%}  recorded {before:6.1%}")
    same = "every prediction is as recorded" if result.changed == 0 else f"{result.changed} predictions differ"
    say(same)
    if result.changed:
        raise typer.Exit(1)
