"""`plora export`: a run for those who do not have plora."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.arguments import RunArgument
from plora.cli.saying import say
from plora.shown import shell_word


def command(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="The folder to write; must be new.", show_default=False)],
    task: Annotated[str | None, typer.Option(help="Write the adapter and the head of this task alone.")] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="One plain network with the slots in its weights, not PEFT adapters.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload the folder to the hub; a new repository is private.")
    ] = None,
) -> None:
    """Write PEFT adapters or one `transformers` network, with heads, inference.py and a model card.

    Of a folder of `plora cascade evaluate`: those of each run, and an inference.py that walks the tree.

    Example: `plora export runs/topics/o_lora/seed-0 --out topics --merged`
    """
    from plora.cascade import export_cascade, is_cascade
    from plora.errors import RunError
    from plora.export import SCRIPT_FILE, export

    if not is_cascade(run):
        folder = export(run, out, task, merged, push)
    elif task is not None or push is not None:
        raise RunError(f"{run} is a cascade, which is exported whole, into a folder here; leave --task and --push out")
    else:
        folder = export_cascade(run, out, merged)
    say(str(folder), f"python {shell_word(str(folder / SCRIPT_FILE))} --help", *([f"pushed to {push}"] if push else []))
