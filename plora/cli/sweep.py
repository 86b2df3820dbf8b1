"""`plora sweep`: many runs from one file."""

from typing import Annotated

import typer

from plora.cli.saying import say


def command(
    config: Annotated[str, typer.Argument(help="A sweep's YAML file, or a name that `plora ls` shows.")],
    keys: Annotated[
        list[str] | None, typer.Argument(help="Keys of the sweep, such as grid.seed=[0] output=my-runs")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; more than 1 need the extra `sweep` (Ray).")] = 1,
    cpus_per_run: Annotated[float, typer.Option(min=0.1, help="CPUs, and threads, of each worker.")] = 1,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="GPUs of each worker; 0.5 puts two on one.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster, such as ray://host:10001; default: this machine alone.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and their state; do nothing.")] = False,
) -> None:
    """Choose what is searched, do every run that is not complete yet, then write one report over all of them.

    A backbone that the runs name and that is not made yet is pretrained first. What was cut goes on, what fails is
    listed at the end. Example: `plora sweep ablation.yaml --workers 2`
    """
    from plora.configs import find_sweep
    from plora.runs.pretraining import make_missing
    from plora.sweep import choice_lines, load_sweep, plan_runs, planned_lines, sweep

    chosen = load_sweep(find_sweep(config), keys or [])
    if dry_run:
        say(*planned_lines(chosen))
        return
    make_missing(one.config for one in plan_runs(chosen))
    result = sweep(chosen, workers, cpus_per_run, gpus_per_run, address)
    if result.studies:
        say("chosen on validation, before the runs scored test:")
    for study in result.studies:
        say(*choice_lines(study))
    for label, failure in result.failures.items():
        say(f"{label}: {failure}", error=True)
    total = result.done + result.skipped + len(result.failures)
    say(
        f"{result.folder / 'report.html'}  ({result.done} done, {result.skipped} were complete, "
        f"{len(result.failures)} failed, of {total})"
    )
    if result.failures:
        raise typer.Exit(1)
