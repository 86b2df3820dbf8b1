"""`plora cascade`: a tree of tasks, scored as a whole, compared, and asked where it sends its training examples."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plora.cli.saying import say

if TYPE_CHECKING:
    from plora.cascade.folder import Cascade

app = typer.Typer(no_args_is_help=True)
CascadeArguments = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN…|CASCADE",
        help="A run whose stream is a tree, several of the same tree (the mean of their answers), or a cascade.yaml "
        "that says which run learned which node.",
        show_default=False,
    ),
]


@app.command()
def evaluate(
    given: CascadeArguments,
    out: Annotated[Path, typer.Option(help="The folder to write; must be new.", show_default=False)],
    flat: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run that tells all classes at once, to compare with.")
    ] = None,
    lost: Annotated[
        float,
        typer.Option(min=0, max=1, help="The loss that the folder's thresholds may have on validation, a share."),
    ] = 0.01,
) -> None:
    """Score a cascade on all its leaves: each node alone, told the way, as a pipeline, and what it saves a search.

    Writes a folder with `cascade.yaml`, `cascade.json`, `report.html` and pictures, that `plora predict` and `plora
    export` take like a run.

    Example: `plora cascade evaluate runs/topics_tree/per_task/seed-0 --out cascade`
    """
    from plora.cascade import evaluate_cascade
    from plora.results.tables.cascade_table import table_of_nodes, table_of_savings, table_of_ways

    result = evaluate_cascade(_cascade(given, flat), out, lost, _progress)
    _say_tables(table_of_ways(result), table_of_nodes(result), table_of_savings(result))
    say(*result.doubts, error=True)
    say(str(out))


@app.command()
def route(
    given: CascadeArguments,
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
) -> None:
    """Write where a cascade sends each training example: what `stream.routes` of another run learns its nodes on.

    Example: `plora cascade route runs/topics_tree/per_task/seed-0 --out routes.json`
    """
    from plora.cascade import route_cascade

    routes = route_cascade(_cascade(given, None), _progress)
    routes.write(out)
    say(f"{out}  ({len(routes.ends):,} training examples)")


@app.command()
def table(
    folders: Annotated[list[Path], typer.Argument(metavar="CASCADE…", help="Folders of `plora cascade evaluate`.")],
) -> None:
    """Print cascades of the same test examples side by side."""
    from plora.cascade import RESULT_FILE, compared
    from plora.results.record.cascade_result import read_cascade_result
    from plora.results.tables.cascade_table import table_of_cascades

    results = compared({str(folder): read_cascade_result(folder / RESULT_FILE) for folder in folders})
    _say_tables(table_of_cascades(results))


def _cascade(given: list[Path], flat: Path | None) -> "Cascade":
    """What is meant: the file or the folder of a cascade, or runs."""
    from plora.cascade import cascade_of_runs, is_cascade, read_cascade
    from plora.errors import RunError

    files = [path for path in given if path.is_file() or is_cascade(path)]
    if not files:
        return cascade_of_runs(given, flat)
    if len(given) > 1:
        raise RunError(f"{files[0]} says all of a cascade, and nothing may stand beside it; leave {given[-1]} out")
    found = read_cascade(files[0])
    return found if flat is None else found.model_copy(update={"flat": flat})


def _progress(what: str, done: int, of: int) -> None:
    say(f"{what}  {done + 1}/{of}", error=True)


def _say_tables(*tables: object) -> None:
    from plora.results.tables.table import Table, markdown_table

    for one in tables:
        assert isinstance(one, Table)
        typer.echo(markdown_table(one.heads, one.rows), nl=False)
        say(*one.notes)
        typer.echo()
