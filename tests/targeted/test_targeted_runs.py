"""Label sets and numbers in whole runs: what is forgotten and what is not, and the same answers in every way out."""

import csv
import dataclasses
import json
import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet
from PIL import Image
from tiny_images import new_backbone
from tiny_targets import LABELS, UNIT, rows, values
from typer.testing import CliRunner

from plora.build import Workspace, build
from plora.cli import app
from plora.config import RunConfig, load_config
from plora.errors import RunError
from plora.export import export
from plora.methods import METHODS
from plora.results import LabelScores, PredictedNumbers, Score, read_measurements, read_record
from plora.results.record.manifest import read_chain
from plora.run_folder.folder import RunFolder
from plora.run_folder.predictions import require_answers
from plora.runs import extend, forget, predict, read_task, resume, run, verify

Config = Callable[..., RunConfig]
SHARED = Workspace()
KINDS = ("label_sets", "numbers")
REFUSED = ("routed", "ewc", "online_ewc", "ewc_lora", "der", "generative_replay", "lwf")
LEARN = [method for method in METHODS if method not in REFUSED]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Config:
    folder = tmp_path_factory.mktemp("targets")
    made = {kind: values(folder, tiny_backbone, kind) for kind in KINDS}
    return lambda kind, *overrides: load_config(made[kind], overrides)


@pytest.fixture(scope="module")
def per_task(config: Config) -> dict[str, Path]:
    return {kind: run(config(kind, "method=per_task"), quiet(), SHARED) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_one_slot_forgets_and_a_slot_for_each_task_does_not(
    config: Config, per_task: dict[str, Path], kind: str
) -> None:
    sequential = read_record(run(config(kind, "method=sequential"), quiet(), SHARED))
    isolated = read_record(per_task[kind])
    for record in (sequential, isolated):
        learned = [record.score.improvement(record.matrix[i + 1, i], record.matrix[0, i]) for i in range(2)]
        scale = 1 if kind == "label_sets" else np.array([UNIT[task][1] for task in record.tasks])
        assert (np.array(learned) > 0.2 * scale).all()  # it learns
    forgotten = sequential.metrics["forgetting"].value
    assert forgotten is not None
    assert forgotten > (0.1 if kind == "label_sets" else 10)
    assert sequential.metrics["backward_transfer"].value == pytest.approx(-forgotten)
    assert isolated.metrics["forgetting"].value == 0
    assert verify(per_task[kind]).problems == ()


def test_errors_are_in_the_unit_of_the_data(per_task: dict[str, Path]) -> None:
    record = read_record(per_task["numbers"])
    assert record.score == Score("mean_absolute_error", "words", "lower", 0.0)
    assert record.metrics["forgetting"].score.unit == "words"
    found = PredictedNumbers.read(per_task["numbers"] / "predictions/task-02.parquet").of("food")
    truth = np.array([row["target"] for row in rows("food", 48, 2)])
    np.testing.assert_array_equal(found.target, truth)
    assert np.abs(found.prediction - truth).mean() == pytest.approx(record.matrix[2, 0])
    assert 900 < found.prediction.mean() < 1500  # the numbers are 1000 to 1400


def test_label_sets_stand_in_the_record(per_task: dict[str, Path]) -> None:
    found = LabelScores.read(per_task["label_sets"] / "predictions/task-02.parquet")
    assert found.class_names == (*LABELS["food"], *LABELS["travel"])
    of_travel = found.of("travel")
    assert set(of_travel.label.tolist()) == {3, 4, 5}
    truth = [[name in row["labels"] for name in LABELS["travel"]] for row in rows("travel", 48, 2)]
    np.testing.assert_array_equal(of_travel.truth.reshape(48, 3), truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merged", [False, True])
def test_predictions_are_those_of_the_record_and_of_an_export(
    per_task: dict[str, Path], tmp_path: Path, kind: str, merged: bool
) -> None:
    texts = [str(row["text" if kind == "label_sets" else "counted"]) for row in rows("food", 48, 2)]
    told = predict(per_task[kind], texts, task="food")
    path = per_task[kind] / "predictions/task-02.parquet"
    if kind == "label_sets":
        record = LabelScores.read(path).of("food")
        given = record.given.reshape(48, 3)
        names = [{name for name, there in zip(LABELS["food"], own, strict=True) if there} for own in given]
        assert [set(one.labels) for one in told] == names
        assert all(p >= 0.5 for one in told for p in one.probabilities)
    else:
        numbers = [one.probabilities[0] for one in told]
        np.testing.assert_allclose(numbers, PredictedNumbers.read(path).of("food").prediction, rtol=1e-5)
        assert told[0].labels == ("target",)
    folder = export(per_task[kind], tmp_path / "out", task="food", merged=merged)
    with warnings.catch_warnings():  # of libraries that the script uses
        warnings.simplefilter("ignore")
        exported = runpy.run_path(str(folder / "inference.py"))["predict"](texts[:6], task="food")
    for one, answer in zip(told, exported, strict=False):
        for name, number in zip(one.labels, one.probabilities, strict=True):
            assert answer[name] == pytest.approx(number, rel=1e-5)
        if kind == "label_sets":
            assert {name for name, p in answer.items() if p >= 0.5} == set(one.labels)
    assert ("numbers" if kind == "numbers" else "probability") in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_line_tells_label_sets_and_numbers(per_task: dict[str, Path], tmp_path: Path, kind: str) -> None:
    texts = [str(row["text" if kind == "label_sets" else "counted"]) for row in rows("food", 5, 7)]
    told = predict(per_task[kind], texts, task="food")
    said = CliRunner().invoke(app, ["predict", str(per_task[kind]), "--task", "food", "--json", *texts])
    lines = [json.loads(line) for line in said.output.splitlines()]
    what = "labels" if kind == "label_sets" else "numbers"
    assert [line[what] for line in lines] == [dict(zip(p.labels, p.probabilities, strict=True)) for p in told]
    plain = CliRunner().invoke(app, ["predict", str(per_task[kind]), "--task", "food", texts[0]]).output
    assert plain.startswith(
        f"target {told[0].probabilities[0]:.6g}\t" if kind == "numbers" else f"{told[0].labels[0]} "
    )
    table = tmp_path / "new.csv"
    column = "text" if kind == "label_sets" else "counted"
    table.write_text("\n".join([column, *texts]), encoding="utf-8")
    out = tmp_path / "told.csv"
    CliRunner().invoke(app, ["predict", str(per_task[kind]), str(table), "--task", "food", "--out", str(out)])
    with out.open(encoding="utf-8") as file:
        found = [json.loads(row["predicted"]) for row in csv.DictReader(file)]
    assert found == [list(p.labels) if kind == "label_sets" else p.probabilities[0] for p in told]


def test_a_record_with_other_targets_is_not_that_of_the_data(per_task: dict[str, Path]) -> None:
    path = per_task["numbers"] / "predictions/task-02.parquet"
    found = PredictedNumbers.read(path).of("food")
    examples = build(RunFolder(per_task["numbers"]).read_config(), SHARED).tasks[0].splits["test"]
    require_answers(path, found, examples, "food")
    other = dataclasses.replace(found, target=found.target + 1)
    with pytest.raises(RunError, match="the examples of task 'food' are not those of its data"):
        require_answers(path, other, examples, "food")


def test_a_task_that_is_forgotten_leaves_the_other_as_it_was(config: Config) -> None:
    folder = run(config("numbers", "method=per_task", "seed=1", "training.epochs=1"), quiet(), SHARED)
    before = [one.probabilities for one in predict(folder, ["plane train"], task="travel")]
    forget(folder, "food")
    assert [one.probabilities for one in predict(folder, ["plane train"], task="travel")] == before
    assert verify(folder).problems == ()


def same(folder: Path) -> list[object]:
    """What the same seed gives again: hashes of weights, units and thresholds, numbers of each example, matrix."""
    found: list[object] = [read_record(folder).matrix.tobytes()]
    found += [(link.slots, link.parts) for link in read_chain(folder)]
    for file in sorted(folder.glob("predictions/*.parquet")):
        measured = read_measurements(file)
        found.append([getattr(measured, name).tolist() for name in ("task", "example", "starts")])
        names = ("label", "truth", "score") if isinstance(measured, LabelScores) else ("target", "prediction")
        found.append([getattr(measured, name).tobytes() for name in names])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        ("method=replay",),
        ("method=per_task", "training.early_stop=2"),
        ("method=merged_average",),
        ("method=frozen", "head=ridge"),
    ],
    ids=lambda settings: settings[0],
)
def test_a_kill_changes_no_bit(config: Config, tmp_path: Path, kind: str, settings: tuple[str, ...]) -> None:
    short = (*settings, "training.epochs=2", "training.checkpoint_seconds=0")
    whole = run(config(kind, *short, f"output={tmp_path / 'whole'}"), quiet(), SHARED)
    cut = config(kind, *short, f"output={tmp_path / 'cut'}")
    points = ("committed:1", "checkpointed:2") if "frozen" in settings[0] else ("step:5", "committed:1", "step:20")
    for point in points:
        first = not cut.folder.exists()
        work = (lambda: run(cut, quiet())) if first else (lambda: resume(cut.folder, quiet()))
        assert in_child(work, point) in (KILLED, 0)
    resume(cut.folder, quiet())
    assert same(cut.folder) == same(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_task_is_learned_as_if_it_had_always_been_there(
    config: Config, tmp_path: Path, tiny_backbone: Path, kind: str
) -> None:
    settings = ("method=per_task", "training.epochs=1", "training.learning_rate=0.01")
    whole = run(config(kind, *settings, f"output={tmp_path / 'whole'}"), quiet(), SHARED)
    made = values(tmp_path, tiny_backbone, kind)
    later = made["stream"]["tasks"].pop()  # type: ignore[index]
    short = run(load_config(made, [*settings, f"output={tmp_path / 'short'}"]), quiet(), SHARED)
    keys = [f"{key}={value}" for key, value in later.items() if key != "train"]
    task = read_task(short, Path(later["train"]), keys)
    assert type(task).__name__ == {"label_sets": "LabelSetTask", "numbers": "NumberTask"}[kind]
    extend(short, task, quiet())
    assert same(short) == same(whole)
    assert RunFolder(short).read_config().added == (task,)  # as it was written, it is read
    assert verify(short).problems == ()


def learned_quickly(kind: str, method: str, folder: Path, backbone: Path) -> None:
    """Learn two tasks of 24 texts, and read everything back."""
    made = values(folder, backbone, kind, count=24, test=12)
    scenario = next(name for name in ("task", "domain") if name not in METHODS[method].refusals)
    settings = [f"method={method}", f"scenario={scenario}", "training.epochs=1"]
    if scenario == "domain":
        first = made["stream"]["tasks"][0]  # type: ignore[index]
        made["stream"]["tasks"] = [first, {**first, "name": "again"}]  # type: ignore[index]
    written = run(load_config(made, settings), quiet())
    record = read_record(written)
    assert record.complete
    assert np.isfinite(record.matrix[-1]).all()
    assert verify(written).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARN)
def test_a_method_learns_label_sets(method: str, tmp_path: Path, tiny_backbone: Path) -> None:
    learned_quickly("label_sets", method, tmp_path, tiny_backbone)


@pytest.mark.slow
@pytest.mark.parametrize("method", LEARN)
def test_a_method_learns_numbers(method: str, tmp_path: Path, tiny_backbone: Path) -> None:
    learned_quickly("numbers", method, tmp_path, tiny_backbone)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image_multi_label", "image_regression"])
def test_images_have_labels_and_numbers_too(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,bright,striped,height"]
    for number in range(60):
        bright, striped, height = int(rng.integers(2)), int(rng.integers(2)), int(rng.integers(1, 8))
        pixels = np.zeros((8, 8), np.uint8)
        pixels[:height] = 120 + 120 * bright
        pixels[:, ::2] //= 1 + striped
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{bright},{striped},{height}")
    (tmp_path / "images.csv").write_text("\n".join(lines), encoding="utf-8")
    targets = {"labels": ["bright", "striped"]} if kind == "image_multi_label" else {"targets": "height"}
    task = {"train": str(tmp_path / "images.csv"), "image": "file", **targets}
    stream = {
        "kind": "label_sets" if kind == "image_multi_label" else "numbers",
        "tasks": [{"name": "first", **task}, {"name": "again", **task}],
    }
    config = load_config(
        {
            "stream": stream,
            "problem": {"kind": kind},
            "method": "per_task",
            "backbone": new_backbone("vit"),
            "lora": {"rank": 2, "targets": "attention"},
            "training": {"epochs": 8, "batch_size": 8, "learning_rate": 0.02},
            "output": str(tmp_path / "runs"),
        }
    )
    folder = run(config, quiet())
    record = read_record(folder)
    assert record.score.improvement(record.matrix[2].mean(), record.matrix[0].mean()) > 0.1
    assert record.metrics["forgetting"].value == 0
    assert verify(folder).problems == ()
    told = predict(folder, [tmp_path / "0.png", tmp_path / "1.png"], task="again")
    assert all(isinstance(number, float) for one in told for number in one.probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["class", "domain"])
def test_label_sets_without_a_task_name(config: Config, tiny_backbone: Path, tmp_path: Path, scenario: str) -> None:
    settings: list[str] = ["method=merged_average" if scenario == "class" else "method=replay", f"scenario={scenario}"]
    if scenario == "domain":
        made = values(tmp_path, tiny_backbone, "label_sets")
        made["stream"]["tasks"][1] = {**made["stream"]["tasks"][0], "name": "again"}  # type: ignore[index]
        folder = run(load_config(made, settings), quiet())
    else:
        folder = run(config("label_sets", *settings), quiet(), SHARED)
    record = read_record(folder)
    assert record.matrix[2].mean() > 0.4
    told = {label for one in predict(folder, ["apple pear", "train track ticket"]) for label in one.labels}
    assert told <= {*LABELS["food"], *LABELS["travel"]}
    assert verify(folder).problems == ()
