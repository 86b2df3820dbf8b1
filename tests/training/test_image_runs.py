"""Two image tasks from config to record, with slots of every kind; a kill changes nothing there either."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from killing import KILLED, in_child, quiet, snapshot
from sklearn.metrics import f1_score
from tiny_images import VALUES, new_backbone

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.results import ClassRankings, read_record
from plora.results.record.sheet import read_sheet, sheet_files
from plora.runs import forget, resume, run, verify

MOBILENET = Path(__file__).parents[3] / "shared/data/weights/mobilenet_v2_imagenet"
PLACES = {
    "conv": ("lora.targets=all_conv", "lora.rank=2"),
    "bottleneck": ("lora=null", "bottleneck={width: 4, after: stage, norm: batch}"),
    "modules": ("lora=null", "modules=[normalization]"),
    "pointwise": ("lora=null", "pointwise={form: series}"),
}
SLOWER = pytest.param("pointwise", marks=pytest.mark.slow)
Config = Callable[..., RunConfig]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    values = {
        **VALUES,
        "scenario": "task",
        "method": "per_task",
        "backbone": new_backbone("resnet"),
        "training": {"epochs": 12, "batch_size": 16, "learning_rate": 0.02, "checkpoint_seconds": 0},
        "output": str(tmp_path / "runs"),
    }
    return lambda *overrides: load_config(values, overrides)


@pytest.mark.parametrize("place", ["conv", "bottleneck", "modules", SLOWER])
def test_two_image_tasks_are_learned_and_kept(config: Config, place: str) -> None:
    folder = run(config(*PLACES[place]), quiet())
    record = read_record(folder)
    before, after = record.matrix[0], record.matrix[-1]
    assert record.tasks == ("zero-four", "five-nine")
    assert after.mean() > before.mean() + 0.2  # it learns
    assert record.metrics["forgetting"].value == 0  # a slot per task, and its statistics with it
    assert verify(folder).problems == ()


def test_sheets_show_what_the_network_said_and_go_with_a_task_that_is_forgotten(config: Config) -> None:
    folder = run(config(*PLACES["modules"], "training.epochs=1"), quiet())
    sheet, confusions = (read_sheet(folder / "examples" / name) for name in ("task-02.png", "confusions.png"))
    assert [row.name for row in sheet.rows] == ["five", "six", "seven", "eight", "nine"]
    said = ClassRankings.read(folder / "predictions/task-02.parquet").by_task()["five-nine"]
    for label, row in zip(np.unique(said.label), sheet.rows, strict=True):
        predicted = [said.class_names[one] for one in said.prediction[said.label == label][:8]]
        assert [one or row.name for one in row.taken_for] == predicted
    counts = [row.count or 0 for row in confusions.rows]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0
    assert all(set(row.taken_for) - {row.name, None} for row in confusions.rows)
    forget(folder, "zero-four")
    assert [file.name for file in sheet_files(folder)] == ["task-02.png"]
    assert verify(folder).problems == ()


def killed(config: Config, point: str, *settings: str) -> tuple[dict[str, object], dict[str, object]]:
    whole, cut = config(*settings, "name=whole"), config(*settings, "name=cut")
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), point) == KILLED
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    first, second = snapshot(whole.folder), snapshot(cut.folder)
    for found in (first, second):
        found.pop("results")  # it has the run's name
    return first, second


@pytest.mark.parametrize("place", ["modules", SLOWER])
def test_statistics_of_a_killed_run_end_with_the_same_bits(config: Config, place: str) -> None:
    whole, cut = killed(config, "step:15", *PLACES[place], "training.epochs=4", "training.micro_batch_size=6")
    assert whole == cut


def test_macro_f1_of_a_run_that_weighs_its_classes(config: Config) -> None:
    settings = ("problem.score=macro_f1", "problem.loss={gamma: 2, beta: 0.99}", "training.head_dropout=0.5")
    folder = run(config(*PLACES["pointwise"], *settings, "training.epochs=3", "training.early_stop=1"), quiet())
    record = read_record(folder)
    assert record.score.name == "macro_f1"
    said = ClassRankings.read(folder / "predictions/task-02.parquet").by_task()
    for cell, task in zip(record.matrix[-1], record.tasks, strict=True):
        expected = f1_score(said[task].label, said[task].prediction, average="macro")
        assert cell == pytest.approx(expected, abs=1e-12)
    before = said["five-nine"].prediction
    forget(folder, "zero-four")
    assert verify(folder).problems == ()
    left = ClassRankings.read(folder / "predictions/task-02.parquet").by_task()
    assert np.array_equal(left["five-nine"].prediction, before)


def test_what_conv_slots_are_kept_out_of_is_the_same_after_a_kill(config: Config) -> None:
    settings = (*PLACES["conv"], "method=inf_lora", "scenario=class", "training.epochs=3")
    whole, cut = killed(config, "step:15", *settings)  # inside the second task, whose slot is designed anew
    assert whole == cut


def test_images_that_replay_remembers_are_the_same_after_a_kill(config: Config) -> None:
    settings = (*PLACES["conv"], "method=replay", "scenario=class", "training.epochs=3")
    whole, cut = killed(config, "step:15", *settings)  # inside the second task: what is remembered was read back
    assert whole == cut


@pytest.mark.slow
@pytest.mark.skipif(not MOBILENET.is_dir(), reason="the pretrained MobileNetV2 is not on this machine")
def test_a_head_is_solved_on_a_pretrained_convolutional_network(config: Config) -> None:
    backbone = {"id": str(MOBILENET), "image": {"size": 64}}
    solved = ("scenario=class", "method=frozen", "head=ridge", f"backbone={json.dumps(backbone)}")
    folder = run(config(*solved), quiet())
    assert read_record(folder).matrix[-1].mean() > 0.5  # of ten classes
    assert verify(folder).problems == ()
