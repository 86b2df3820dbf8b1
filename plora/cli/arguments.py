"""Arguments that several verbs share."""

import os
from pathlib import Path
from typing import Annotated

import typer

from plora.cli.saying import say
from plora.errors import ConfigError
from plora.shown import shell_word

ConfigArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG… [KEY=VALUE…]",
        help="YAML files or names that `plora ls` shows, then settings such as `training.epochs=3`.",
        show_default=False,
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def translate_peers(paths: list[Path]) -> None:
    """Answer with the translation of a config of another code base, its YAML on stdout, and end; else do nothing.

    Raises:
        typer.Exit: there was one; nothing can be done with it as it is.
    """
    from plora.config import read_values
    from plora.config.peers import peer_of

    for path in paths:
        if peer := peer_of(values := read_values(path)):
            name, translate = peer
            found = translate(values)
            say(
                f"{path} is a config of {name}; its keys, and where they are in plora:",
                *found.lines,
                f"the whole stands on stdout: `plora validate {shell_word(str(path))} > new.yaml`, then "
                f"`plora {'sweep' if len(found.seeds) > 1 else 'run'} new.yaml`",
                error=True,
            )
            typer.echo(found.yaml, nl=False)
            raise typer.Exit(2)


def split_arguments(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Return config files and `key=value` overrides.

    Raises:
        ConfigError: there is no config among the arguments.
    """
    from plora.configs import find_config

    # Folders of sweeps are named lr=0.01: what is a file is one, and no key has a slash.
    settings = [argument for argument in arguments if "=" in argument and not _names_a_file(argument)]
    configs = [argument for argument in arguments if argument not in settings]
    if not configs:
        raise ConfigError(["no config given; `plora ls` lists the shipped ones"])
    return [find_config(name) for name in configs], settings


def _names_a_file(argument: str) -> bool:
    """Whether an argument with '=' is a path: such a file exists, or there is a slash where a key has none."""
    return os.path.isfile(argument) or "/" in argument.partition("=")[0] or "\\" in argument.partition("=")[0]
