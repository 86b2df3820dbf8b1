"""`plora predict`: label new texts or images."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import visible, visible_json


def command(
    run: RunArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT…|FILE…]",
            help="Texts, files with one per line, a table (CSV, TSV, JSON lines, parquet), or nothing to read stdin; "
            "or image files, and folders of them, whose paths stdin may have, one per line.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task; needed where a run has a head per task.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels per input.")] = 3,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table with the texts (twice: a pair); else as the task was learned."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a table there, by its ending: the columns that were read, `predicted`, `probability`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input.")] = False,
) -> None:
    """Label texts, or files of images, with probabilities: one line out for each line, row or file in.

    Where a task was learned on pairs of texts, a pair is written with a tab between its texts. A folder of images
    stands for its files, in the order of their names.

    Example: `plora predict runs/topics/o_lora/seed-0 mails.csv --text body --out labelled.csv`
    """
    from plora.runs import predict, read_inputs, require_writable, write_labelled
    from plora.streams.row_count import counted

    given = read_inputs(run, inputs or [], sys.stdin.buffer, task, text or ())
    if out is not None:
        require_writable(out, inputs or [], given)
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=len(given.inputs), label="label", file=sys.stderr, hidden=hidden) as bar:
        predictions = predict(run, given.inputs, task, top, bar.update)
    if lost := counted(given.left_out):
        say(f"left out: {lost}", error=True)
    say(*given.remarks, error=True)
    if out is not None:
        write_labelled(out, given, predictions)
        return
    for prediction in predictions:
        labels = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        if as_json:
            typer.echo(visible_json({given.noun: prediction.input, "labels": labels}))
        else:
            shown = "  ".join(f"{visible(label)} {probability:.1%}" for label, probability in labels.items())
            one = prediction.input
            words = " ⇥ ".join(one) if isinstance(one, tuple) else str(one)
            typer.echo(f"{shown}\t{visible(words[:80])}")
