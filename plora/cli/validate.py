"""`plora validate`: every mistake of a config at once."""

from plora.cli.arguments import ConfigArguments, split_arguments, translate_peers
from plora.cli.saying import say


def command(arguments: ConfigArguments) -> None:
    """Find what a run would stop at before it learns, without loading weights; files of local streams are read.

    A JSON config of PyCIL, PILOT or SD-LoRA is translated, and the YAML of EoMT with LoRA in Lightning.
    """
    paths, overrides = split_arguments(arguments)
    translate_peers(paths)
    from plora.config import load_config
    from plora.runs import validate

    for path in paths:
        config = load_config(path, overrides)
        validate(config)
        say(f"{path}: valid ({config.label}, {config.scenario}-incremental, {config.stream.kind})")
