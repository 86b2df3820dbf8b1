"""`plora validate`: every mistake of a config at once."""

from plora.cli.arguments import ConfigArguments, split_arguments, translate_peers
from plora.cli.saying import say


def command(arguments: ConfigArguments) -> None:
    """Check configs without loading data or weights; a JSON config of PyCIL, PILOT or SD-LoRA is translated."""
    paths, overrides = split_arguments(arguments)
    translate_peers(paths)
    from plora.config import load_config

    for path in paths:
        config = load_config(path, overrides)
        say(f"{path}: valid ({config.label}, {config.scenario}-incremental, {config.stream.kind})")
