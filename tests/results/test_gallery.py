"""Every picture of real and of made-up runs: what is drawn, and that it still looks as it did."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import TASKS, curves, gated, record
from matplotlib.figure import Figure
from PIL import Image

from plora.config import RunConfig
from plora.errors import RunError
from plora.results import (
    ClassRankings,
    Interference,
    accuracy_matrix,
    active_slots,
    compare_methods,
    confusion,
    confusion_counts,
    cost_against_accuracy,
    forgetting_of_methods,
    forgetting_of_tasks,
    forgetting_per_task,
    gate_coefficients,
    gate_vector,
    interference_of_tasks,
    layer_drift,
    learning_curves,
    overlap_of_tasks,
    read_record,
    run_pictures,
    similarity_against_vector,
    tasks_over_time,
    to_pdf,
    to_png,
    vector_over_tasks,
    write_figures,
)
from plora.results.pictures.interference_plots import layer_names
from plora.runs import run

GOLDEN = Path(__file__).parent / "golden_pictures"
WIDTH = 160  # pixels of a golden picture: its shape, not its letters


def predictions(classes: int = 6, tasks: int = 3, stray: bool = False) -> ClassRankings:
    rng = np.random.default_rng(3)
    label = np.arange(classes * 20) % classes
    wrong = rng.integers(0, classes, len(label))
    prediction = np.where(rng.random(len(label)) < 0.7, label, wrong)
    if stray:
        prediction[0] = classes
    per_task = classes // tasks
    return ClassRankings(
        np.array([f"task {c // per_task}" for c in label]),
        np.arange(len(label), dtype=np.int32),
        label.astype(np.int32),
        prediction.astype(np.int32)[:, None],
        np.full((len(label), 1), 0.9, dtype=np.float32),
        tuple(f"class {c}" for c in range(classes + 1)),
    )


def found(T: int = 4, layers: int = 6, shared: bool = False, names: Sequence[str] = ()) -> Interference:
    rng = np.random.default_rng(5)
    T = len(names) or T
    cosine = rng.uniform(-0.4, 0.4, (T, T))
    return Interference(
        tuple(names) or tuple(f"task {t}" for t in range(T)),
        tuple(range(1, T + 1)),
        T,
        tuple(f"encoder.layer.{i // 2}.attention.{'qv'[i % 2]}" for i in range(layers)),
        shared,
        rng.uniform(0, 2, (T, layers)),
        rng.uniform(0, 1, (T, T)),
        (cosine + cosine.T) / 2,
        0.02,
    )


def methods() -> list:
    shapes = {"sequential": "forgets", "per_task": "steady", "frozen": "flat"}
    return [record(name, shape, seed=seed) for name, shape in shapes.items() for seed in range(3)]


GATES = tuple(dict.fromkeys(TASKS[: t + 1], 1 / (t + 1)) for t in range(5))

PICTURES: dict[str, Callable[[], Figure]] = {
    "accuracy_matrix": lambda: accuracy_matrix(record()),
    "tasks_over_time": lambda: tasks_over_time(record()),
    "compare_methods": lambda: compare_methods(methods()),
    "learning_curves": lambda: learning_curves(curves()),
    "forgetting_of_tasks": lambda: forgetting_of_tasks(record()),
    "forgetting_of_methods": lambda: forgetting_of_methods(methods()),
    "cost_against_accuracy": lambda: cost_against_accuracy(methods()),
    "confusion": lambda: confusion(predictions()),
    "confusion_of_many_classes": lambda: confusion(predictions(60)),
    "layer_drift": lambda: layer_drift(found()),
    "overlap": lambda: overlap_of_tasks(found()),
    "interference": lambda: interference_of_tasks(found()),
    "gate_coefficients": lambda: gate_coefficients(replace(record(), gates=GATES)),
    "gate_vector": lambda: gate_vector(gated(), "magnitude"),
    "vector_over_tasks": lambda: vector_over_tasks(gated(), "share"),
    "active_slots": lambda: active_slots(gated()),
    "similarity_against_vector": lambda: similarity_against_vector(gated(), found(names=gated().tasks)),
}


def small_grey(figure: Figure, tmp_path: Path) -> Image.Image:
    path = tmp_path / "picture.png"
    path.write_bytes(to_png(figure, 100))
    with Image.open(path) as image:
        grey = image.convert("L")
    return grey.resize((WIDTH, round(grey.height * WIDTH / grey.width)), Image.Resampling.BOX)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_looks_as_it_did(name: str, tmp_path: Path) -> None:
    """To accept a change after looking at it: delete the golden picture and run the test once."""
    drawn = small_grey(PICTURES[name](), tmp_path)
    golden = GOLDEN / f"{name}.png"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        drawn.save(golden, optimize=True)
        pytest.fail(f"{golden} was missing and has been written: look at it, commit it, run again")
    with Image.open(golden) as image:
        expected = image.convert("L").resize(drawn.size)
    difference = np.abs(np.asarray(drawn, dtype=float) - np.asarray(expected, dtype=float))
    assert difference.mean() < 2.0  # of 255; another version of a font moves less than that


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off(name: str, tmp_path: Path) -> None:
    """The outermost pixels of a picture are paper."""
    path = tmp_path / "picture.png"
    path.write_bytes(to_png(PICTURES[name](), 100))
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert edge.min() > 200


@pytest.mark.parametrize("name", PICTURES)
def test_a_pdf_is_repeatable(name: str) -> None:
    pdf = to_pdf(PICTURES[name]())
    assert pdf.startswith(b"%PDF")
    assert pdf == to_pdf(PICTURES[name]())


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def test_forgetting_bars_are_the_metric() -> None:
    run_record = record()
    drops = 100 * forgetting_per_task(run_record.matrix)
    assert [bar.get_height() for bar in forgetting_of_tasks(run_record).axes[0].patches] == pytest.approx(list(drops))
    bars = forgetting_of_methods(methods()).axes[0].patches
    means = [
        np.mean([run.metrics["forgetting"].value for run in methods() if run.method == name])
        for name in ("sequential", "per_task", "frozen")
    ]
    assert sorted(bar.get_width() for bar in bars) == pytest.approx(sorted(100 * mean for mean in means))


def test_forgetting_that_is_not_defined_is_refused() -> None:
    with pytest.raises(RunError, match="forgetting of 'skills/sequential' cannot be drawn"):
        forgetting_of_tasks(record(tasks=["only"]))
    with pytest.raises(RunError, match="no run has the cells that forgetting needs"):
        forgetting_of_methods([record("joint", "joint")])


def test_cost_has_a_labelled_point_per_method_on_a_log_axis() -> None:
    figure = cost_against_accuracy(methods(), "trainable_parameters")
    ax = figure.axes[0]
    assert ax.get_xscale() == "log"
    labels = ["sequential, 3 seeds", "per_task, 3 seeds", "frozen, 3 seeds"]
    how_to_read = "point: mean over seeds · line: ± 1 standard deviation of the accuracy over seeds"
    assert sorted(written(figure)) == sorted([*labels, how_to_read])
    points = [line for line in ax.lines if line.get_marker() not in ("None", "")]
    assert [float(np.asarray(line.get_xdata())[0]) for line in points] == [150_532.0] * 3


def test_confusion_counts_every_example() -> None:
    given = predictions(stray=True)
    classes, counts = confusion_counts(given)
    slow = np.zeros((7, 7), dtype=int)
    for label, prediction in zip(given.label, given.prediction, strict=True):
        slow[label, prediction] += 1
    assert list(classes) == list(range(7))
    assert (counts == slow).all()
    of_tasks = [confusion_counts(given, f"task {k}")[1].sum() for k in range(3)]
    assert sum(of_tasks) == len(given)
    with pytest.raises(RunError, match="no test example of task 'other'"):
        confusion(given, "other")


def test_confusion_shows_shares_of_each_true_class_and_no_numbers_for_many() -> None:
    figure = confusion(predictions(stray=True))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"class {c}" for c in range(6)]
    assert len(figure.axes[0].get_xticklabels()) == 7  # predicted, though no example has it
    rows = np.array(written(figure), dtype=float).reshape(6, 7)
    np.testing.assert_allclose(rows.sum(axis=1), 100, atol=3)
    assert written(confusion(predictions(60))) == []


def test_layers_are_named_by_what_tells_them_apart() -> None:
    paths = ["a.layer.0.self.query", "a.layer.0.self.key", "a.layer.1.self.key"]
    assert layer_names(paths) == ["0.query", "0.key", "1.key"]
    assert layer_names(["a.b"]) == ["a.b"]
    assert layer_names(["a.b", "a.b.c"]) == ["a.b", "a.b.c"]


@pytest.mark.parametrize("T", [1, 2, 12, 13, 40])
def test_any_number_of_tasks_layers_and_classes_can_be_drawn(T: int) -> None:
    drawn = [layer_drift(found(T, 3 * T)), overlap_of_tasks(found(T)), interference_of_tasks(found(T, shared=True))]
    if T > 1:
        run_record = record(tasks=[f"a task with a very long name, number {i}" for i in range(T)])
        drawn += [forgetting_of_tasks(run_record), forgetting_of_methods([run_record]), confusion(predictions(T, 1))]
    for figure in drawn:
        assert to_png(figure, 40).startswith(b"\x89PNG")


@pytest.mark.slow
def test_every_picture_of_a_real_run_is_written(toy_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    folder = run(toy_config("method=o_lora", "training.epochs=1"))
    pictures, left_out = run_pictures(folder, read_record(folder))
    of_tasks = ["matrix", "tasks", "forgetting", "gate", "confusion", "curves"]
    assert list(pictures) == [*of_tasks, "drift", "overlap", "interference"]
    assert left_out == []
    files = write_figures([folder], tmp_path / "figures")
    names = {path.name for path in files}
    assert {"o_lora-seed-0-drift.png", "o_lora-seed-0-drift.pdf", "o_lora-seed-0-confusion-03.pdf"} <= names
    assert len(files) == 2 * (len(pictures) + 3)
    assert all(path.stat().st_size > 1000 for path in files)
    next(folder.glob("slots/*/adapter_model.safetensors")).unlink()
    pictures, left_out = run_pictures(folder, read_record(folder))
    assert "drift" not in pictures
    assert len(left_out) == 1
    assert "cannot be read" in left_out[0]


def test_an_empty_picture_is_not_drawn(tmp_path: Path) -> None:
    """A task of one logged step has no line, and a run that measured nothing no matrix."""
    (tmp_path / "curves.jsonl").write_text("".join(point.to_line() for point in curves(steps=2)))
    assert len(curves(steps=2)) == len(TASKS)
    pictures, left_out = run_pictures(tmp_path, record())
    assert "curves" not in pictures
    assert left_out == []
    (tmp_path / "curves.jsonl").write_text("".join(point.to_line() for point in curves(steps=4)))
    assert "curves" in run_pictures(tmp_path, record())[0]
    assert "matrix" not in run_pictures(tmp_path, record(tasks=["a"], R=np.full((2, 1), np.nan), complete=False))[0]
    some = [point for point in curves(steps=4) if point.task != "kind"] + curves(steps=2)[1:2]
    (alone,) = [line for line in learning_curves(some).axes[0].lines if len(line.get_xdata()) == 1]
    assert alone.get_marker() == ".", "a point without a line can be seen"
