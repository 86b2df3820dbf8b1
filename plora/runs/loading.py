"""Rebuild a run from its folder."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from plora.build import Learner, Parts, Workspace, assemble, build
from plora.errors import RunError
from plora.results.record.manifest import Checkpoint
from plora.run_folder.agreement import Agreed, read_agreed
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.streams.incremental import LabelSpace


def require_backbone(folder: RunFolder) -> None:
    """Refuse a run whose backbone was a folder that is nowhere any more, before its name passes for an id of the hub.

    Raises:
        RunError: says where the folder was.
    """
    if not folder.environment.exists():
        return
    backbone = folder.read_environment().backbone
    if backbone.folder is None or os.path.isdir(backbone.folder) or os.path.isdir(backbone.id):
        return
    raise RunError(
        f"{folder.path} was learned on the backbone folder {backbone.folder}, which is gone, and there is no folder "
        f"'{backbone.id}' here; bring it back, or start where it is"
    )


def _near(stored: Mapping[str, list[float]], now: Mapping[str, list[float]]) -> bool:
    """Whether two first batches are the same but for the order in which other threads sum their numbers."""
    if [*stored] != [*now]:
        return False
    pairs = zip(stored.values(), now.values(), strict=True)
    return all(len(a) == len(b) and np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in pairs)


def require_same(parts: Parts, folder: RunFolder) -> None:
    """Refuse data, a backbone or preprocessing that are no longer what the run was started with."""
    stored = folder.read_environment()
    stream, backbone, preprocessing = stored.stream, stored.backbone, stored.preprocessing
    fingerprint = parts.learner.backbone.fingerprint
    if backbone.fingerprint != fingerprint:
        raise RunError(
            f"{folder.path} was learned on another backbone (fingerprint {backbone.fingerprint[:12]}…, loaded "
            f"{fingerprint[:12]}…); restore the files of {backbone.id}"
        )
    first_batch = parts.tasks[0].splits["train"].first_batch()
    same = preprocessing.fingerprint == parts.model.problem.fingerprint()
    if not (same and _near(preprocessing.first_batch, first_batch)):
        raise RunError(
            f"{folder.path}: preprocessing no longer makes the same inputs (first batch "
            f"{preprocessing.first_batch}, now {first_batch}); restore the versions in environment.json"
        )
    labels = {task.name: list(task.label_names) for task in parts.stream.tasks}
    for task, names in stream.labels.items():
        if labels.get(task) != names:
            raise RunError(
                f"{folder.path}: the labels of task '{task}' have changed since the run ({', '.join(names[:6])}; now "
                f"{', '.join(labels.get(task, [])[:6]) or 'no such task'}); restore the data"
            )
    if [name for name in labels if name in stream.labels] != [*stream.labels]:
        raise RunError(
            f"{folder.path}: its tasks were learned in the order {', '.join(stream.labels)}, and its config has "
            f"{', '.join(labels)}; restore config.yaml and environment.json from a copy of the run"
        )
    now = {task.name: task.fingerprints() for task in parts.stream.tasks}
    for task, splits in stream.splits.items():
        changed = [split for split, content in splits.items() if now.get(task, {}).get(split) != content]
        if changed:
            raise RunError(
                f"{folder.path}: the data of task '{task}' have changed since the run ({', '.join(changed)}); restore "
                "them, or the library versions in environment.json"
            )


def load_run(path: Path) -> tuple[Parts, RunFolder, Agreed]:
    """Rebuild a run from its folder with the model of its last checkpoint.

    Returns:
        Its parts, its folder, and what its files say.

    Raises:
        RunError: the folder is not a run, is damaged, or its data or backbone are no longer what they were.
    """
    folder = RunFolder.existing(path)
    agreed = read_agreed(folder)
    last = agreed.require_learned(folder)
    require_backbone(folder)
    parts = build(agreed.config, made_in=folder.made_in)
    require_same(parts, folder)
    load_checkpoint(folder, last, parts.learner)
    return parts, folder, agreed


def load_learner(path: Path) -> tuple[Learner, Checkpoint, LabelSpace]:
    """Load the model of a run's last checkpoint; the data that it was learned from are not needed.

    Returns:
        The learner, what its checkpoint says, and the rows of all tasks.
    """
    folder = RunFolder.existing(path)
    agreed = read_agreed(folder, to_answer=True)
    last = agreed.require_learned(folder)
    require_backbone(folder)
    learner = assemble(agreed.config, Workspace(), folder.made_in)
    load_checkpoint(folder, last, learner)
    return learner, last, LabelSpace.lay_out(last.labels, agreed.config.scenario)
