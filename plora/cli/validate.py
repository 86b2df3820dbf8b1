"""`plora validate`: every mistake of a config at once."""

import typer

from plora.cli.arguments import ConfigArguments, split_arguments


def command(arguments: ConfigArguments) -> None:
    """Check configs without loading data or weights."""
    paths, overrides = split_arguments(arguments)
    from plora.config import load_config

    for path in paths:
        config = load_config(path, overrides)
        typer.echo(f"{path}: valid ({config.label}, {config.scenario}-incremental, {config.stream.kind})")
