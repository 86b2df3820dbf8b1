"""`plora evaluate`: score a run again, or on data that it has not learned."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import visible


def command(
    run: RunArgument,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="Score the test split of this config's stream instead, before and after each task: what the base "
            "forgets. For language models.",
        ),
    ] = None,
) -> None:
    """Load a run's last checkpoint, score every task it has learned again, and compare with its record."""
    if on is not None:
        _elsewhere(run, on)
        return
    from plora.runs import evaluate

    result = evaluate(run)
    tasks = [visible(task) for task in result.tasks]
    width = max(map(len, tasks))
    for task, now, before in zip(tasks, result.values, result.recorded, strict=True):
        say(f"{task:<{width}}  {result.score.with_unit(now)}  recorded {result.score.with_unit(before)}")
    same = "every prediction is as recorded" if result.changed == 0 else f"{result.changed} predictions differ"
    say(same)
    if result.changed:
        raise typer.Exit(1)


def _elsewhere(run: Path, on: str) -> None:
    from plora.config import load_config
    from plora.configs import find_config
    from plora.events.console import Console
    from plora.runs import evaluate_on

    found = evaluate_on(run, load_config(find_config(on)).stream, Console().progress)
    width = max(map(len, found.rows))
    say(f"{found.score.title}, test splits of {on}")
    for row, values in found.values().items():
        shown = "  ".join(f"{visible(task)} {found.score.text(value)}" for task, value in values.items())
        say(f"{visible(row):<{width}}  {shown}")
