"""A per-pixel problem from outside: two outputs, weighted losses, augmentation, module slots with BatchNorm."""

import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]

import pixel_problem as pixels
from killing import KILLED, in_child, quiet
from together import together

from plora.adapters import ModuleSlot
from plora.backbones import BackboneConfig
from plora.build import Workspace, build
from plora.cli import app
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, RunError, TrainingError
from plora.export import export
from plora.failpoints import FAILPOINTS
from plora.fingerprint import hash_tensors
from plora.moment import Moment
from plora.problems import Batch
from plora.results import PixelCounts, read_curves, read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, verify
from plora.streams.base import Split
from plora.testing import ConformanceError, check_problem
from plora.training.course import plan_course
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward

Make = Callable[..., RunConfig]
PER_TASK = ("scenario=task", "method=per_task")
DOMAIN = ("scenario=domain", "method=sequential", "bottleneck={width: 2, norm: batch}")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    values: dict[str, object] = {
        "stream": {"kind": "pixel_problem:Scenes"},
        "problem": {"kind": "pixel_problem:PixelSettings"},
        "lora": None,
        "modules": ["decoder"],
        "training": {"epochs": 3, "batch_size": 4, "learning_rate": 0.03, "log_every": 2},
    }
    return lambda name, *settings: load_config(values, [f"output={tmp_path / name}", *settings])


def learned(config: RunConfig) -> Path:
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    return config.folder


def same(path: Path) -> dict[str, object]:
    """All of a run folder that the same seed gives again."""
    folder, found = RunFolder(path), {"results": (path / "results.json").read_bytes()}
    for number in folder.complete():
        manifest = read_checkpoint(folder.path, number)
        found[f"weights {number}"] = manifest.slots, manifest.parts, manifest.strategies
    for file in sorted(path.glob("predictions/*.parquet")):
        counts = PixelCounts.read(file)
        found[file.name] = counts.task.tolist(), counts.pairs.tolist(), counts.counts.tolist(), counts.class_names
    found["curves"] = [(p.step, p.loss, p.terms) for p in read_curves(path / "curves.jsonl")]
    return found


@pytest.mark.parametrize("settings", [PER_TASK, DOMAIN])
def test_it_learns_and_verify_and_evaluate_agree(make: Make, settings: tuple[str, ...]) -> None:
    path = learned(make("run", *settings, "training.epochs=8"))
    record = read_record(path)
    assert record.score.name == "mean_iou"
    assert record.matrix[-1, -1] > record.matrix[0, -1] + 0.2
    if settings is PER_TASK:
        assert record.matrix[2, 0] == record.matrix[1, 0]
    assert not verify(path).problems
    assert evaluate(path).changed == 0
    assert {term for point in read_curves(path / "curves.jsonl") for term in point.terms} == {"classes", "thing"}


@pytest.fixture(scope="module")
def wholes() -> dict[str, dict[str, object]]:
    return {}


POINTS = [f"{p}{n}" for p in FAILPOINTS if p != "extended" for n in ((":7", ":20") if p == "step" else ("",))]
KILLED_RUN = ("training.checkpoint_seconds=0", "training.micro_batch_size=3", "training.early_stop=2")
INSIDE = {"step:7", "step:20", "step_saved", "epoch", "trained"}
"""Points inside a stage, of which a step is saved already."""
QUICK = {"micro_batch", "step:7", "step:20", "committed"}


@pytest.mark.parametrize("settings", [PER_TASK, DOMAIN], ids=["per_task", "domain"])
@pytest.mark.parametrize("point", [p if p in QUICK else pytest.param(p, marks=pytest.mark.slow) for p in POINTS])
def test_a_kill_changes_no_bit(
    make: Make, wholes: dict[str, dict[str, object]], settings: tuple[str, ...], point: str, tmp_path: Path
) -> None:
    if settings[1] not in wholes:
        wholes[settings[1]] = same(learned(make("whole", *settings, *KILLED_RUN)))
    config = make("cut", *settings, *KILLED_RUN)
    assert in_child(lambda: run(config, quiet(), Workspace()), point) == KILLED
    begun = (config.folder / "config.yaml").exists()
    events = tmp_path / "events"
    again = (lambda: resume(config.folder, quiet(events))) if begun else (lambda: run(config, quiet(), Workspace()))
    assert in_child(again) == 0
    assert same(config.folder) == wholes[settings[1]]
    if point in INSIDE:
        assert "resumed" in events.read_text(encoding="utf-8").split()


@pytest.mark.parametrize("settings", [PER_TASK, DOMAIN], ids=["per_task", "domain"])
def test_augmented_scenes_that_are_made_ahead_give_the_same_bits(
    make: Make, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    """Memory runs out too, and the micro-batches that were made ahead are no longer those that are asked for."""
    backward, makers, runs = Backward.run, set(), []
    collate = pixels.PixelExamples.collate

    def small_memory(self: Backward, *given: object) -> dict[str, torch.Tensor]:
        terms = backward(self, *given)  # type: ignore[arg-type]
        if self.micro > 2 and self.lesson.position == 1:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")
        return terms

    def watched(self: pixels.PixelExamples, indices: np.ndarray, draw: int | None = None) -> Batch:
        makers.add((threading.current_thread() is threading.main_thread(), draw is None))
        return collate(self, indices, draw)

    monkeypatch.setattr(Backward, "run", small_memory)
    monkeypatch.setattr(pixels.PixelExamples, "collate", watched)

    def learn(config: RunConfig, slow: bool) -> None:
        run(config, quiet(), Workspace())
        assert {(not slow, True), (not slow, False)} <= makers  # to score and to train

    for slow in (True, False):
        monkeypatch.setattr(pixels.ScenesSplit, "slow", slow)
        config = make(f"slow-{slow}", *settings, *KILLED_RUN, "name=same")
        assert in_child(partial(learn, config, slow)) == 0
        runs.append(same(config.folder))
    assert runs[0] == runs[1]


def test_statistics_move_in_the_open_slot_alone(make: Make) -> None:
    parts = build(make("run", *PER_TASK), Workspace())
    model, course = parts.model, plan_course(parts)
    assert model.adapters is not None
    (place,) = model.adapters.others.values()
    assert isinstance(place, ModuleSlot)

    def bits() -> dict[str, str]:
        found = {name: hash_tensors(place.tensors(name).items()) for name in model.adapters.names}
        return found | {"pristine": hash_tensors(place.base.state_dict().items())}

    def step(plan_number: int) -> None:
        plan = course[plan_number]
        open_stage(parts, plan)
        model.train()
        Backward(parts, plan, begin_lesson(parts, plan), 4).run(np.arange(4), Moment(plan_number, 0, 1, 0, 1, 4), 5)

    pristine = bits()["pristine"]
    step(0)
    assert place.opened is not None
    first = place.opened.norm.running_mean.clone()
    assert first.abs().sum() > 0
    model.commit()
    before = bits()
    step(1)
    after = bits()
    assert after["pristine"] == pristine
    assert after["light-0"] == before["light-0"]
    assert place.opened is not None
    assert place.opened.norm.running_mean.abs().sum() > 0


def gradients(config: RunConfig, micro: int, rank: int = 0, count: int = 1) -> dict[str, torch.Tensor]:
    parts = build(config, Workspace())
    plan = plan_course(parts)[0]
    open_stage(parts, plan)
    parts.model.train()
    terms = Backward(parts, plan, begin_lesson(parts, plan), micro).run(np.arange(8), Moment(0, 0, 1, 0, 1, 8), 5)
    parameters = parts.model.trainable()
    summed = torch.stack([*terms.values()])
    parts.learner.processes.sum_gradients(parameters.values(), summed)
    return {"terms": summed, **{name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}}


def test_micro_batches_of_unequal_valid_pixels_are_the_whole_batch(make: Make) -> None:
    config = make("run", *PER_TASK, "problem.norm=false", "stream.ignored=0.9")
    whole, parts = gradients(config, 8), gradients(config, 3)
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-4, atol=1e-6)


def test_two_processes_have_one_gradient(make: Make, tmp_path: Path) -> None:
    config = make("run", *PER_TASK, "problem.norm=false", "stream.ignored=0.9")

    def work(rank: int) -> None:
        torch.save(gradients(config, 3), tmp_path / f"gradients-{rank}.pt")

    assert together(2, work, tmp_path / "place") == [0, 0]
    one = gradients(config, 8)
    for rank in (0, 1):
        for name, gradient in torch.load(tmp_path / f"gradients-{rank}.pt").items():
            torch.testing.assert_close(gradient, one[name], rtol=1e-4, atol=1e-6)


def test_two_processes_end_with_one_model(make: Make, tmp_path: Path) -> None:
    config = make("two", *PER_TASK)  # with BatchNorm, whose statistics they agree on
    assert together(2, lambda _: run(config, quiet()), tmp_path / "place") == [0, 0]
    assert not verify(config.folder).problems


def test_nothing_that_counts_is_one_clear_line(make: Make) -> None:
    with pytest.raises(TrainingError, match=r"step 0: nothing in the batch counts in the loss 'classes'.*weight is 0"):
        gradients(make("run", *PER_TASK, "stream.ignored=1000", "problem.norm=false"), 8)


def test_what_is_not_saved_makes_saving_fail(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ModuleSlot.tensors

    def broken(self: ModuleSlot, name: str) -> dict[str, torch.Tensor]:
        return {key: t + 1 if key == "out.bias" else t for key, t in whole(self, name).items()}

    monkeypatch.setattr(ModuleSlot, "tensors", broken)
    config = make("run", *PER_TASK, "training.epochs=1")
    with pytest.raises(RunError, match=r"does not have the hash|gives other classes"):
        run(config, quiet(), Workspace())
    assert not RunFolder(config.folder).complete()


def test_nothing_is_cached_that_is_not_fixed(make: Make) -> None:
    workspace = Workspace()
    run(make("run", *DOMAIN, "training.epochs=1"), quiet(), workspace)
    assert not workspace.features.kept
    parts = build(make("other", *DOMAIN), workspace)
    examples = parts.tasks[0].splits["train"]
    assert not examples.fixed
    with parts.learner.extractor.given(examples, np.arange(2)) as given:
        assert given is None
    moved = [examples.collate(np.array([3]), draw).inputs["pixels"] for draw in range(8)]
    assert any(not torch.equal(moved[0], other) for other in moved)
    among = examples.collate(np.array([5, 3, 1]), 6).inputs["pixels"][1:2]
    assert torch.equal(among, examples.collate(np.array([3]), 6).inputs["pixels"])


@pytest.mark.parametrize("point", ["step:7", pytest.param("committed:2", marks=pytest.mark.slow)])
def test_replay_keeps_scenes(make: Make, point: str) -> None:
    settings = ("scenario=domain", "method=replay", "strategies=[{kind: replay, capacity: 6}]", *KILLED_RUN)
    whole, cut = learned(make("whole", *settings)), make("cut", *settings)
    assert any("replay" in term for p in read_curves(whole / "curves.jsonl") for term in p.terms)
    assert in_child(lambda: run(cut, quiet(), Workspace()), point) == KILLED
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    assert same(cut.folder) == same(whole)


@pytest.mark.parametrize("method", ["lwf", "ewc", "der", "frozen", "routed", "gain_lora"])
def test_what_needs_classes_is_refused(make: Make, method: str) -> None:
    with pytest.raises(ConfigError, match=r"problem 'pixel_problem:PixelSettings'") as refusal:
        make("run", "scenario=domain", f"method={method}")
    assert len(str(refusal.value).splitlines()) <= 3


def test_export_is_refused(make: Make, tmp_path: Path) -> None:
    path = learned(make("run", *PER_TASK, "training.epochs=1"))
    with pytest.raises(RunError, match="problem 'pixel_problem:PixelSettings' has no export"):
        export(path, tmp_path / "out")


def test_report_and_table(make: Make, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = learned(make("run", *PER_TASK))
    app(["table", str(path)], standalone_mode=False)
    assert "IoU" in capsys.readouterr().out
    app(["report", str(path), "--out", str(tmp_path / "report.html")], standalone_mode=False)
    page = (tmp_path / "report.html").read_text()
    final = read_record(path).matrix[2, 1]
    assert "mean IoU" in page
    assert f"{100 * final:.1f}" in page


def check(problem: pixels.PixelProblem) -> None:
    network = problem.load(problem.settings, BackboneConfig()).network
    check_problem(problem, pixels.Scenes(number=6).load().tasks[0].train, network)


def test_it_keeps_what_a_problem_promises() -> None:
    check(pixels.PixelProblem(pixels.PixelSettings()))


def test_a_broken_promise_is_found() -> None:
    class Mean(pixels.PixelProblem):
        def losses(self, *given: object) -> dict[str, torch.Tensor]:  # type: ignore[override]
            batch = given[1]
            return {name: loss / batch.weights[name] for name, loss in super().losses(*given).items()}  # type: ignore[attr-defined, arg-type]

    with pytest.raises(ConformanceError, match="loss 'classes' is a sum over examples"):
        check(Mean(pixels.PixelSettings()))

    class Wandering(pixels.PixelExamples):
        def collate(self, indices: np.ndarray, draw: int | None = None) -> Batch:
            return super().collate(indices, None if draw is None else draw + int(indices[0]))

    class Moved(pixels.PixelProblem):
        def encode(self, split: Split, first_row: int = 0) -> pixels.PixelExamples:
            return Wandering(((split, np.arange(len(split))),))

    with pytest.raises(ConformanceError, match="random about an example depends on draw and position"):
        check(Moved(pixels.PixelSettings()))
