"""`plora cp`: your own copy of a config or sweep."""

from pathlib import Path
from typing import Annotated

import typer

from plora.cli.saying import say
from plora.errors import RunError
from plora.shown import shell_word


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped config or sweep; see `plora ls`.")],
    target: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Default: its own name, here.")] = None,
) -> None:
    """Copy a shipped config or sweep into a file of your own."""
    from plora import atomic
    from plora.configs import find_config, find_sweep, shipped_sweeps

    sweep = name.removesuffix(".yaml") in shipped_sweeps()
    source = find_sweep(name) if sweep else find_config(name)
    place = target or Path(source.name)
    if place.is_dir():
        place = place / source.name
    if place.exists():
        raise RunError(f"{place} exists already; name another file")
    atomic.write_text(place, source.read_text(encoding="utf-8"))
    say(str(place), f"plora {'sweep' if sweep else 'run'} {shell_word(str(place))}")
