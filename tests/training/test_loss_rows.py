"""The rows of all tasks of a stream compete from the first one on: `loss_rows: all`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot

from plora.build import Workspace, build
from plora.config import RunConfig
from plora.errors import RunError
from plora.export import export
from plora.results import read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, predict, resume, run, verify
from plora.streams.local import LocalTask

Config = Callable[..., RunConfig]
SETTINGS = ("method=o_lora", "scenario=class", "loss_rows=all", "training.epochs=2")


def test_rows_of_later_tasks_learn_to_stay_low_and_are_not_predicted(toy_config: Config, tmp_path: Path) -> None:
    config = toy_config(*SETTINGS, "training.epochs=4")
    run(config, quiet(), Workspace())
    parts, folder = build(config), RunFolder(config.folder)
    untrained = parts.model.head
    first = read_checkpoint(folder.path, 1)
    assert first.tasks == ("food",)
    assert first.blocks == {"food": 2, "travel": 2, "nature": 2}
    load_checkpoint(folder, first, parts.learner)
    with torch.no_grad():
        scores = untrained(parts.learner.extractor.features(parts.tasks[0].splits["test"], None))
    assert scores[:, 2:].max() < scores[:, :2].max(1).values.min()  # all that the task's own rows compete with
    assert read_record(config.folder).matrix[1, 0] > 0.7
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0
    (said,) = predict(config.folder, ["the wave and the reef"], top=9)
    assert len(said.labels) == 6
    export(config.folder, tmp_path / "exported")


def test_a_run_that_was_killed_knows_its_first_tasks_alone_and_ends_with_the_same_bits(toy_config: Config) -> None:
    settings = (*SETTINGS, "training.checkpoint_seconds=0")
    whole, cut = (toy_config(*settings, f"output={toy_config().output}-{name}") for name in ("whole", "cut"))
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), "step:20") == KILLED
    (said,) = predict(cut.folder, ["the wave and the reef"], top=9)
    assert sorted(said.labels) == ["bread", "fruit"]
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    assert snapshot(cut.folder) == snapshot(whole.folder)


def test_a_task_more_means_a_new_run(toy_config: Config, toy_files: dict[str, Path]) -> None:
    config = toy_config(*SETTINGS, "method=frozen", "training.epochs=1")
    run(config, quiet(), Workspace())
    more = LocalTask(name="more", train=toy_files["food-train"], test=toy_files["food-test"])
    with pytest.raises(RunError, match=r"^loss_rows=all: the rows of all tasks compete from the first task on"):
        extend(config.folder, more, quiet())
