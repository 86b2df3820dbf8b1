"""Rebuild a run from its folder."""

from pathlib import Path

from plora.build import Learner, Parts, Workspace, assemble, build
from plora.errors import RunError
from plora.problems.settings import ProblemSettings
from plora.results import (
    RESULTS_FILE,
    read_record,
)
from plora.run_folder.checkpoint import (
    Manifest,
    load_checkpoint,
    require_checkpoints,
)
from plora.run_folder.folder import RunFolder
from plora.streams.incremental import LabelSpace


def require_same(parts: Parts, folder: RunFolder) -> None:
    """Refuse data, a backbone or preprocessing that are no longer what the run was started with."""
    stored = folder.read_environment()
    stream, backbone, preprocessing = (stored[key] for key in ("stream", "backbone", "preprocessing"))
    assert isinstance(stream, dict)
    assert isinstance(backbone, dict)
    assert isinstance(preprocessing, dict)
    fingerprint = parts.learner.backbone.fingerprint
    if backbone["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder.path} was learned on another backbone (fingerprint {backbone['fingerprint'][:12]}…, loaded "
            f"{fingerprint[:12]}…); restore the files of {backbone['id']}"
        )
    first_batch = parts.tasks[0].splits["train"].first_batch()
    if preprocessing != {"fingerprint": parts.model.problem.fingerprint(), "first_batch": first_batch}:
        raise RunError(
            f"{folder.path}: preprocessing no longer makes the same inputs (first batch "
            f"{preprocessing['first_batch']}, now {first_batch}); restore the versions in environment.json"
        )
    labels = {task.name: list(task.label_names) for task in parts.stream.tasks}
    for task, names in stream["labels"].items():
        if labels.get(task) != names:
            raise RunError(
                f"{folder.path}: the labels of task '{task}' have changed since the run ({', '.join(names[:6])}; now "
                f"{', '.join(labels.get(task, [])[:6]) or 'no such task'}); restore the data"
            )
    now = {task.name: task.fingerprints() for task in parts.stream.tasks}
    for task, splits in stream["splits"].items():
        changed = [split for split, content in splits.items() if now.get(task, {}).get(split) != content]
        if changed:
            raise RunError(
                f"{folder.path}: the data of task '{task}' have changed since the run ({', '.join(changed)}); restore "
                "them, or the library versions in environment.json"
            )


def read_problem(path: Path) -> ProblemSettings:
    """Return what the inputs and answers of a run look like; nothing is loaded."""
    return RunFolder.existing(path).read_config().problem


def load_run(path: Path) -> tuple[Parts, RunFolder, list[str]]:
    """Rebuild a run from its folder with the model of its last checkpoint.

    Returns:
        Its parts, its folder, and the names of the tasks that the checkpoint has learned.

    Raises:
        RunError: the folder is not a run, is damaged, or its data or backbone are no longer what they were.
    """
    folder = RunFolder.existing(path)
    config = folder.read_config()
    number = folder.last_checkpoint()
    parts = build(config)
    require_same(parts, folder)
    return parts, folder, list(load_checkpoint(folder, number, parts.learner).tasks)


def load_learner(path: Path) -> tuple[Learner, Manifest, LabelSpace]:
    """Load the model of a run's last checkpoint; the data that it was learned from are not needed.

    Returns:
        The learner, what its checkpoint says, and the rows of all tasks.
    """
    folder = RunFolder.existing(path)
    config = folder.read_config()
    if (path / RESULTS_FILE).exists():
        require_checkpoints(folder, read_record(path))
    learner = assemble(config, Workspace())
    learned = load_checkpoint(folder, folder.last_checkpoint(), learner)
    if not learned.tasks:
        raise RunError(f"{path} has forgotten every task it learned")
    return learner, learned, LabelSpace.lay_out(learned.labels, config.scenario)
