"""Two steps of classes through the one loop: what is forgotten, what is held, what the table says."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import KILLED, in_child, quiet
from tiny_scenes import CLASSES, VALUES

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.results import PixelCounts, class_steps, read_curves, read_record, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, verify

Make = Callable[..., RunConfig]
STEPS = VALUES | {
    "stream": {"kind": "tiny_scenes:TinySteps"},
    "scenario": "class",
    "problem": {"kind": "semantic_segmentation", "answer": "patches"},
}
LONG = ("training.epochs=12", "training.learning_rate=0.01", "problem.score=foreground_iou", "method=lwf")


LIGHTS = ("light-0", "light-1")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    return lambda name, *settings: load_config(STEPS, [f"output={tmp_path / name}", *settings])


def learned(config: RunConfig) -> Path:
    return run(config, quiet(), Workspace())


@pytest.mark.parametrize(("answer", "weight"), [("patches", 5), pytest.param("queries", 200, marks=pytest.mark.slow)])
def test_old_answers_behind_the_background_are_held(make: Make, answer: str, weight: float) -> None:
    """The same scenes in both steps: in the second, squares are background, and lost without old answers."""
    strategy = "{kind: distillation, weight: %g, temperature: 1}"
    forgot, held = (
        learned(make(name, *LONG, f"problem.answer={answer}", f"strategies=[{strategy % given}]"))
        for name, given in (("forgot", 0), ("held", weight))
    )
    (first, without), (same, distilled) = (class_steps(path, read_record(path)) for path in (forgot, held))
    assert (first.classes, without.classes) == (("ground", "square"), ("stripe",))
    assert first.new == same.new > 0.3  # the first step has nothing old
    assert without.old < 0.1
    assert distilled.old > without.old + 0.2
    assert distilled.new > 0.05

    record = read_record(held)
    assert record.score.name == "foreground_iou"
    assert record.stream.notes == {"class steps": "overlapped: ground, square | stripe", "background": "ground"}
    assert [data.classes for data in record.data] == [2, 1]
    after_one = PixelCounts.read(held / "predictions/task-01.parquet")
    assert after_one.class_names == CLASSES
    assert not after_one.of("classes-1-1").confusion()[2].any()  # stripes are background, and no answer yet
    assert not after_one.of("classes-1-1").confusion()[:, 2].any()
    assert "classes-2-2" in write_table([held], "steps")[0]
    assert not verify(held).problems
    assert evaluate(held).changed == 0


def test_replayed_maps_change_no_bit_when_a_run_is_killed(make: Make) -> None:
    """The buffer holds images and maps of the first step; the kill is in the second."""
    settings = ("method=replay", "stream.number=8", "training.epochs=1", "training.checkpoint_seconds=0")
    whole, config = learned(make("whole", *settings)), make("cut", *settings)
    assert in_child(lambda: run(config, quiet(), Workspace()), "step:3") == KILLED
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    for path in (whole, config.folder):
        assert any(cost.rehearsed for cost in read_record(path).cost)
    for number in RunFolder(whole).complete():
        found, again = (read_checkpoint(path, number) for path in (whole, config.folder))
        assert (found.slots, found.parts, found.strategies) == (again.slots, again.parts, again.strategies)
        assert found.strategies
    counts = [PixelCounts.read(path / "predictions/task-02.parquet") for path in (whole, config.folder)]
    assert np.array_equal(counts[0].confusion(), counts[1].confusion())


def test_domains_are_distilled_over_all_classes(make: Make) -> None:
    """Where every task has the same classes none is behind the background, and old answers are held as they are."""
    few = ("stream={kind: 'tiny_scenes:TinyScenes', number: 8}", "scenario=domain", "training.epochs=1")
    points = read_curves(learned(make("domains", "method=lwf", "training.log_every=1", *few)) / "curves.jsonl")
    terms = {task: [point.terms.get("distillation") for point in points if point.task == task] for task in LIGHTS}
    assert terms[LIGHTS[0]] == [None, None]
    before, after = terms[LIGHTS[1]]
    assert before == pytest.approx(0, abs=1e-6)  # nothing has changed before the first step
    assert after > 1e-5  # type: ignore[operator]
