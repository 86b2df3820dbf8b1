"""Arguments that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from plora.errors import ConfigError

ConfigArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="CONFIG… [KEY=VALUE…]",
        help="YAML files or names that `plora ls` shows, then settings such as `training.epochs=3`.",
        show_default=False,
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def split_arguments(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """Return config files and `key=value` overrides.

    Raises:
        ConfigError: there is no config among the arguments.
    """
    from plora.configs import find_config

    configs = [argument for argument in arguments if "=" not in argument]
    if not configs:
        raise ConfigError(["no config given; `plora ls` lists the shipped ones"])
    return [find_config(name) for name in configs], [argument for argument in arguments if "=" in argument]
