"""`plora predict`: label new texts or images, each word of texts, or each pixel of images."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import visible, visible_json

if TYPE_CHECKING:
    from plora.runs import GivenInputs, Prediction


def command(
    run: RunArgument,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT…|FILE…]",
            help="Texts, files with one per line, a table (CSV, TSV, JSON lines, parquet), or nothing to read stdin; "
            "or image files, and folders of them, whose paths stdin may have, one per line; a run of segmentation "
            "takes videos too.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task; needed where a run has a head per task.")] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Labels per input: 3; or classes per image, of the pixels: all.", show_default=False),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column of a table with the texts (twice: a pair); else as the task was learned."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a table there, by its ending: the columns that were read, `predicted`, and `probability` of "
            "labels. Of a run that tags words, JSON lines with `words` and `tags`; of one of segmentation, a new "
            "folder with `masks`, `overlays`, `classes.json`, and `outliers` where their score is measured."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input.")] = False,
) -> None:
    """Label texts, or files of images, with probabilities, or tell numbers: one line out for each line, row or file in.

    Where a task was learned on pairs of texts, a pair is written with a tab between its texts. A folder of images
    stands for its files, in the order of their names. A run of segmentation says which classes the pixels of an image
    have, and their share; one that tags words says which of them are entities. A folder of `plora cascade evaluate`
    stands for a run: its labels are the leaves, and `--json` says the way to the first and the leaves that its
    thresholds leave to be tried.

    Example: `plora predict runs/topics/o_lora/seed-0 mails.csv --text body --out labelled.csv`
    """
    from plora.cascade import descend, is_cascade, run_that_reads
    from plora.runs import predict, read_inputs, require_writable, write_labelled

    cascade = is_cascade(run)
    given = read_inputs(run_that_reads(run, task) if cascade else run, inputs or [], sys.stdin.buffer, task, text or ())
    if given.segmented:
        for image, shares in _segmented(run, given, task, out):
            _say_one(given.noun, image, "classes", dict(list(shares.items())[:top]), as_json)
        _say_remarks(given)
        return
    if given.tagged:
        _tagged(run, given, task, out, as_json)
        return
    if out is not None:
        require_writable(out, inputs or [], given)
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=len(given.inputs), label="label", file=sys.stderr, hidden=hidden) as bar:
        if cascade:
            predictions: Sequence[Prediction] = descend(run, given.inputs, top or 3, bar.update)
        else:
            predictions = predict(run, given.inputs, task, top or 3, bar.update)
    _say_remarks(given)
    if out is not None:
        write_labelled(out, given, predictions)
        return
    for prediction in predictions:
        labels = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        more = {name: getattr(prediction, name) for name in ("path", "tried") if cascade}
        _say_one(given.noun, prediction.input, prediction.told, labels, as_json, more)


def _segmented(
    run: Path, given: "GivenInputs", task: str | None, out: Path | None
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Each image and the share of each class, written to a folder where one is given."""
    from plora.runs import require_new_folder, segment, write_segmented

    if out is not None:
        require_new_folder(out, given.inputs)
    found = segment(run, given.inputs, task)
    for one in found if out is None else write_segmented(found, out):
        yield str(one.input), one.shares


def _tagged(run: Path, given: "GivenInputs", task: str | None, out: Path | None, as_json: bool) -> None:
    """Print the entities of each text, or write its words and their tags to a file."""
    from plora.runs import require_sentence_file, tag, write_tagged

    if out is not None:
        require_sentence_file(out)
    hidden = not sys.stderr.isatty()
    with typer.progressbar(length=len(given.inputs), label="tag", file=sys.stderr, hidden=hidden) as bar:
        found = tag(run, given.inputs, task, bar.update)
    _say_remarks(given)
    if out is not None:
        write_tagged(out, found)
        return
    for one in found:
        if as_json:
            typer.echo(visible_json({"text": one.input, "words": one.words, "tags": one.tags}))
            continue
        shown = "  ".join(f"{visible(kind)}: {visible(words)}" for kind, words in one.entities)
        typer.echo(f"{shown or '–'}\t{visible(' '.join(one.words)[:80])}")


def _say_remarks(given: "GivenInputs") -> None:
    """Say what is to be known of how inputs were read."""
    from plora.streams.row_count import counted

    if lost := counted(given.left_out):
        say(f"left out: {lost}", error=True)
    say(*given.remarks, error=True)


def _say_one(
    noun: str,
    one: object,
    what: str,
    values: Mapping[str, float],
    as_json: bool,
    more: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Print an input with what was found of it, and as JSON what more is known."""
    if as_json:
        typer.echo(visible_json({noun: one, what: values, **(more or {})}))
        return
    shown = "  ".join(
        f"{visible(name)} {f'{n:.6g}' if what == 'numbers' else f'{n:.1%}'}" for name, n in values.items()
    )
    words = " ⇥ ".join(one) if isinstance(one, tuple) else str(one)
    typer.echo(f"{shown}\t{visible(words if noun == 'file' else words[:80])}")
