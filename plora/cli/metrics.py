"""`plora metrics`: every metric of anyone's matrix."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from plora.errors import ConfigError
from plora.shown import visible_json


class ScenarioName(StrEnum):
    """The scenarios by name."""

    task = "task"
    class_ = "class"
    domain = "domain"


def command(
    matrix: Annotated[
        Path,
        typer.Argument(
            metavar="MATRIX",
            help="A CSV file, a row per state and a column per task (T rows, or T + 1 with the one before training "
            "first), or a run folder.",
            show_default=False,
        ),
    ],
    percent: Annotated[bool, typer.Option("--percent", help="Cells are percentages, not fractions.")] = False,
    scenario: Annotated[
        ScenarioName | None, typer.Option(help="Of the file; FWT has a meaning in `domain` alone.", show_default=False)
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Test examples per task, for what is pooled.")
    ] = None,
    joint: Annotated[
        Path | None, typer.Option(help="Joint training, for intransigence: a CSV line or matrix (last row), or a run.")
    ] = None,
    single: Annotated[
        Path | None, typer.Option(help="Tasks learned alone, for FWT_learn: a CSV line or matrix (diagonal), or a run.")
    ] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether line 1 has names.", show_default=False)
    ] = None,
    row_names: Annotated[
        bool | None, typer.Option("--row-names/--no-row-names", help="Whether column 1 has names.", show_default=False)
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What a cell of the file is, such as macro_f1 or nats_per_byte; else accuracy.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; values are fractions.")] = False,
) -> None:
    """Print every metric of a matrix or a run, and what others print under the same names.

    Example: `plora metrics matrix.csv --percent --scenario class`
    """
    from plora.results import metrics_of_path

    found = metrics_of_path(
        matrix,
        percent,
        scenario.value if scenario else None,
        _counts(sizes),
        joint,
        single,
        header,
        row_names,
        score,
    )
    typer.echo(visible_json(found.to_json(), indent=2) if as_json else found.markdown().rstrip())


def _counts(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError([f"--sizes: expected whole numbers with commas between them, got '{text}'"]) from None
