"""`plora run`: learn the stream of each config."""

from typing import Annotated

import typer

from plora.cli.arguments import ConfigArguments, split_arguments, translate_peers
from plora.cli.saying import say


def command(
    arguments: ConfigArguments,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure a few steps and say what the run would cost; write nothing.")
    ] = False,
) -> None:
    """Learn the stream of each config, task after task, into a run folder.

    Example: `plora run quickstart/topics-o_lora seed=1 output=my-runs`
    """
    paths, overrides = split_arguments(arguments)
    translate_peers(paths)
    from plora.build import Workspace
    from plora.config import load_config
    from plora.dry_run import dry_run as measure
    from plora.run_folder.folder import RunFolder
    from plora.runs import run
    from plora.runs.pretraining import make_missing

    configs = [load_config(path, overrides) for path in paths]
    make_missing(configs)
    if dry_run:
        for config in configs:
            say(*measure(config).describe().split("\n"))
        return
    for config in configs:  # refuse before the first run, not after hours of it
        RunFolder.require_new(config.folder)
    workspace = Workspace()
    for config in configs:
        run(config, workspace=workspace)
