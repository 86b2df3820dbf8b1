"""`plora predict`: label new texts or images."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.errors import DataError
from plora.shown import visible, visible_json


def command(
    run: RunArgument,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT…|FILE…]",
            help="Texts, a file with one per line, or nothing to read stdin; or image files, and folders of them.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task; needed where a run has a head per task.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels per input.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per input.")] = False,
) -> None:
    """Label texts, or files of images, with probabilities. A text pair is written with a tab between its texts.

    A folder of images stands for its files, in the order of their names.

    Example: `plora predict runs/topics/o_lora/seed-0 "Solve a sparse linear system."`
    """
    from plora.runs import predict, read_problem

    in_lines = read_problem(run).in_lines
    inputs = [_pair(text) for text in _read(texts)] if in_lines else _files(texts or [])
    for prediction in predict(run, inputs, task, top):
        labels = dict(zip(prediction.labels, prediction.probabilities, strict=True))
        if as_json:
            typer.echo(visible_json({"text" if in_lines else "file": prediction.input, "labels": labels}))
        else:
            shown = "  ".join(f"{visible(label)} {probability:.1%}" for label, probability in labels.items())
            given = prediction.input
            text = " ⇥ ".join(given) if isinstance(given, tuple) else str(given)
            typer.echo(f"{shown}\t{visible(text[:80])}")


def _read(texts: list[str] | None) -> list[str]:
    if not texts:
        return _utf8(sys.stdin.buffer.read(), "stdin").splitlines()
    if len(texts) == 1 and os.path.isfile(texts[0]):  # Path.is_file() raises for a text longer than a file name
        return _utf8(Path(texts[0]).read_bytes(), texts[0]).splitlines()
    return [_utf8(os.fsencode(text), f"text {number}") for number, text in enumerate(texts, start=1)]


def _files(paths: list[str]) -> list[str]:
    """The files, and those in the folders, without hidden ones and folders inside."""
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = sorted(entry.path for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith("."))
        if not inside:
            raise DataError(f"folder {path} holds no files; name image files, or a folder with image files right in it")
        found += inside
    return found


def _utf8(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text ({error}); save it as UTF-8") from None


def _pair(text: str) -> str | tuple[str, str]:
    first, tab, second = text.partition("\t")
    return (first, second) if tab else text
