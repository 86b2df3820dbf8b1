"""`plora extend`: a task arrives later."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(
    run: RunArgument,
    data: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or parquet file, a folder per class; or documents.")],
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="Keys of the task: name=reviews text=review label=stars test=test.csv; paragraphs=true"),
    ] = None,
) -> None:
    """Let a finished run learn one task more, as if it had been in the stream from the start.

    Keys are those of a task in the run's problem: labels=topics for label sets, targets=price for numbers.
    A language model learns documents: a file, a folder, or with docstrings=PACKAGE those of a package, whose name is
    then what stands in the place of the file.

    Example: `plora extend runs/mail/per_task/seed-0 reviews.csv text=review label=stars`
    """
    from plora.runs import extend, read_task

    say(str(extend(run, read_task(run, data, keys or []))))
