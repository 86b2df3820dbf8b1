"""`plora pretrain`: make a backbone."""

from plora.cli.arguments import ConfigArguments, split_arguments
from plora.cli.saying import say
from plora.errors import ConfigError


def command(arguments: ConfigArguments) -> None:
    """Train a new network, and keep it as a folder that runs name by `backbone.id=pretrained:CONFIG`.

    Example: `plora pretrain image_classification/digits_pretrain`
    """
    paths, overrides = split_arguments(arguments)
    names = [argument for argument in arguments if "=" not in argument]
    if len(paths) > 1:
        raise ConfigError([f"pretrain makes one backbone at a time, got {len(paths)} configs"])
    from plora.config import load_config
    from plora.runs.pretraining import pretrain

    say(str(pretrain(load_config(paths[0], overrides), names[0].removesuffix(".yaml"))))
