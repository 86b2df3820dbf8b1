"""`plora params`: what trains and what is frozen."""

from plora.cli.arguments import ConfigArguments, split_arguments
from plora.cli.saying import say


def command(arguments: ConfigArguments) -> None:
    """Count what trains and what is frozen, per module and in total, without loading any weights.

    Example: `plora params quickstart/topics-o_lora lora.rank=4`
    """
    paths, overrides = split_arguments(arguments)
    from plora.config import load_config
    from plora.params import count_parameters

    for path in paths:
        say(*count_parameters(load_config(path, overrides)).describe().split("\n"))
