"""`plora generate`: continue texts."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import visible, visible_json, visible_lines


def command(
    run: RunArgument,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text to continue; may be empty, and given many times.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with one prompt per line; without any, stdin is read.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="The task of all prompts, or of each in turn, needed where tasks have slots of their own; `auto` "
            "takes the one that finds a prompt likeliest."
        ),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write after each prompt.")] = 64,
    temperature: Annotated[
        float | None, typer.Option(help="Draw tokens, of scores divided by this; else the likeliest is taken.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Draw among the k likeliest tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Draw among the likeliest tokens that have this share of the probability.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
    drop_oldest: Annotated[
        bool, typer.Option("--drop-oldest", help="Cut the beginning of prompts that are too long.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per prompt.")] = False,
) -> None:
    """Continue texts with what a language model has learned: one prompt as it is written, several in a line each.

    Example: `plora generate runs/domains/per_task/seed-0 --task scipy --prompt "Return the"`
    """
    from plora.backbones.continuing import Drawing
    from plora.runs import generate, read_prompts
    from plora.runs.generating import AUTO

    given = read_prompts(prompt or [], prompts, sys.stdin.buffer)
    drawing = Drawing(temperature, top_k, top_p)
    streams = len(given) == 1 and not as_json
    begun = False

    def told(_: int, piece: str) -> None:
        nonlocal begun
        typer.echo(("" if begun else visible_lines(given[0])) + visible_lines(piece), nl=False)
        sys.stdout.flush()
        begun = True

    named = task[0] if task and len(task) == 1 else task
    found = generate(run, given, named, tokens, drawing, seed, drop_oldest, told if streams else None)
    if streams:
        typer.echo("" if begun else visible_lines(given[0]))
    for number, one in enumerate(found, start=1):
        if as_json:
            typer.echo(visible_json(vars(one)))
            continue
        if not streams:
            typer.echo(visible(one.prompt + one.text))
        if task and AUTO in task:
            say(f"prompt {number}: task {one.task}", error=True)
