"""`plora extend`: a task arrives later."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say


def command(
    run: RunArgument,
    data: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or parquet file, or a folder per class.")],
    keys: Annotated[
        list[str] | None,
        typer.Argument(help="Keys of the task, such as name=reviews text=review label=stars test=test.csv"),
    ] = None,
) -> None:
    """Let a finished run learn one task more, as if it had been in the stream from the start.

    Example: `plora extend runs/mail/per_task/seed-0 reviews.csv text=review label=stars`
    """
    from plora.config import load_task
    from plora.runs import extend

    say(str(extend(run, load_task(data, keys or []))))
