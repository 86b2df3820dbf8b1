"""A kill at any moment loses nothing, and changes nothing: weights, predictions and record end bit for bit the same."""

import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from killing import FAILED, KILLED, REFUSED, in_child, quiet, snapshot

from plora.build import Workspace
from plora.config import RunConfig
from plora.errors import RunError, TrainingError
from plora.failpoints import FAILPOINTS
from plora.model import ContinualModel
from plora.results import read_curves
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import resume, run
from plora.sealed import open_sealed, read_sealed, write_sealed
from plora.training.step import Backward

Config = Callable[..., RunConfig]

EVERYTHING = (  # checkpoints after every step, accumulation, early stop, two phases, rows of unseen tasks
    "training.checkpoint_seconds=0",
    "training.micro_batch_size=5",
    "training.early_stop=1",
    "training.epochs=2",
    "evaluation.tasks=all",
    "phases=[{train: [head], epochs: 1}, {train: [adapter, head]}]",
)
GATE_TOO = "phases=[{train: [head], epochs: 1}, {train: [adapter, head, gate]}]"
METHODS = {
    "o_lora": ("method=o_lora", *EVERYTHING),
    "per_task": ("method=per_task", *EVERYTHING),
    "lateral": ("method=lateral", *EVERYTHING),
    "routed-class": ("method=routed", "scenario=class", *EVERYTHING),
    "routed-class-prefix": ("method=routed", "scenario=class", "lora.layers=last 1", *EVERYTHING),
    "first_session": ("method=first_session", "scenario=class", *EVERYTHING),
    "sequential-class": ("method=sequential", "scenario=class", *EVERYTHING),
    "o_lora-class-bf16": ("method=o_lora", "scenario=class", "training.precision=bf16", *EVERYTHING),
    "joint": ("method=joint", *EVERYTHING),
    "full": ("method=full", "training.learning_rate=0.003", *EVERYTHING[:-1]),
    "frozen": ("method=frozen", "scenario=class", *EVERYTHING[:-1]),
    "frozen-ridge-class": ("method=frozen", "head=ridge", "scenario=class"),
    "frozen-ncm": ("method=frozen", "head=ncm"),
    "gumbel_cl_lora": ("method=gumbel_cl_lora", *EVERYTHING[:-1], GATE_TOO),
    "sd_lora": ("method=sd_lora", *EVERYTHING[:-1], GATE_TOO),
    "ewc": ("method=ewc", *EVERYTHING),
    "ewc_lora": ("method=ewc_lora", *EVERYTHING),
    "inf_lora-class": ("method=inf_lora", "scenario=class", *EVERYTHING),
    "merged_magmax": ("method=merged_magmax", *EVERYTHING),
    "merged_ties-class-bf16": ("method=merged_ties", "scenario=class", "training.precision=bf16", *EVERYTHING),
    "der-class": ("method=der", "scenario=class", *EVERYTHING),
    "generative_replay-class": ("method=generative_replay", "scenario=class", *EVERYTHING),
    "generative_replay-causal": (
        "method=generative_replay",
        "scenario=class",
        "strategies=[{kind: generative_replay, per_class: 8, generator: {kind: causal, id: WRITER, epochs: 2}}]",
        *EVERYTHING,
    ),
    "lwf-class-bf16": ("method=lwf", "scenario=class", "training.precision=bf16", *EVERYTHING),
}
ALIKE = {
    "n_lora-class": ("method=n_lora", "scenario=class", *EVERYTHING),
    "online_ewc": ("method=online_ewc", *EVERYTHING),
    "replay-class": ("method=replay", "scenario=class", *EVERYTHING),
    "merged_average": ("method=merged_average", *EVERYTHING),
    "sd_lora_rr": ("method=sd_lora_rr", "lora.rank=3", "lora.ranks={1: 2}", *EVERYTHING[:-1], GATE_TOO),
    "sd_lora_kd": ("method=sd_lora_kd", *EVERYTHING[:-1], GATE_TOO),
    "gain_lora-class": ("method=gain_lora", "scenario=class", *EVERYTHING[:-1], GATE_TOO),
}
"""Methods that remember what one of the others remembers; they are cut at one point."""
METHODS |= ALIKE


class Twins:
    """For each method the run that was never cut, made once, and room for those that are."""

    def __init__(self, config: Config, folder: Path, writer: Path, store: dict[str, dict[str, object]]) -> None:
        self.config, self.folder, self.writer, self.store = config, folder, writer, store

    def make(self, method: str, name: str) -> RunConfig:
        settings = [setting.replace("WRITER", str(self.writer)) for setting in METHODS[method]]
        return self.config(*settings, f"output={self.folder / name}")

    def whole(self, method: str) -> dict[str, object]:
        if method not in self.store:
            config = self.make(method, "whole")
            assert in_child(lambda: run(config, quiet(), Workspace())) == 0
            self.store[method] = snapshot(config.folder)
        return self.store[method]

    def cut_and_resumed(self, method: str, failpoint: str) -> dict[str, object]:
        config = self.make(method, failpoint.replace(":", "-"))
        assert in_child(lambda: run(config, quiet(), Workspace()), failpoint) == KILLED, failpoint
        if (config.folder / "config.yaml").exists():
            events = self.folder / "events.txt"
            assert in_child(lambda: resume(config.folder, quiet(events))) == 0
            said = events.read_text(encoding="utf-8").split()
            assert "checkpoint_left_aside" not in said
            if METHODS[method][-1] in EVERYTHING and failpoint in _INSIDE:
                assert "resumed" in said  # it went on inside the task, and did not start the task again
        else:  # nothing was begun: the same command starts it
            assert in_child(lambda: run(config, quiet(), Workspace())) == 0
        return snapshot(config.folder)


@pytest.fixture(scope="module")
def _whole_runs() -> dict[str, dict[str, object]]:
    return {}


@pytest.fixture
def twins(toy_config: Config, tmp_path: Path, tiny_writer: Path, _whole_runs: dict[str, dict[str, object]]) -> Twins:
    return Twins(toy_config, tmp_path, tiny_writer, _whole_runs)


_INSIDE = {f"{point}:{count}" for point, count in (("micro_batch", 40), ("step", 17), ("step", 25), ("step_saved", 26))}
_INSIDE |= {"step_saved", "epoch", "epoch:7", "trained", "trained:2", "committed", "committed:3"}
_INSIDE |= {"tensors_saved", "tensors_saved:1", "tensors_saved:2", "tensors_saved:3"}
"""Points at which the stage being learned has a checkpoint of its own."""
_QUICK = {"micro_batch:40", "tensors_saved:3", "predicted:2", "write:7"}
_QUICK_METHODS = {"ewc"}


def _points() -> list[object]:
    """Every failpoint, early and late; a write dies under each of the run's first files."""
    late = {"micro_batch": 40, "step": 25, "step_saved": 26, "epoch": 7, "opened": 2, "committed": 3, "checkpointed": 2}
    late |= {"tensors_saved": 3, "scored": 3, "predicted": 2, "recorded": 3, "trained": 2}
    points = [point for point in FAILPOINTS if point not in ("write", "extended")]
    points = [*points, *(f"{point}:{count}" for point, count in late.items()), *(f"write:{n}" for n in range(1, 13))]
    assert set(points) >= _QUICK
    return [point if point in _QUICK else pytest.param(point, marks=pytest.mark.slow) for point in points]


def _methods() -> list[object]:
    """Every method cut inside a phase, and at one of the points after it, in turn; a few of them in the quick tests."""
    later = cycle(("tensors_saved:2", "checkpointed:1", "scored:2"))
    return [
        pytest.param(
            method, point, marks=() if point == "step:17" and method in _QUICK_METHODS else (pytest.mark.slow,)
        )
        for method in METHODS
        if method != "o_lora"
        for point in ("step:17", next(later))
        if method not in ALIKE or point == "step:17"
    ]


@pytest.mark.parametrize("point", _points())
def test_a_run_killed_at_any_point_ends_with_the_same_bits(twins: Twins, point: str) -> None:
    assert twins.cut_and_resumed("o_lora", point) == twins.whole("o_lora")


@pytest.mark.parametrize(("method", "point"), _methods())
def test_every_method_resumes_with_the_same_bits(twins: Twins, method: str, point: str) -> None:
    if point == "step:17" and method in ("frozen-ridge-class", "frozen-ncm"):
        point = "opened:2"  # nothing steps
    if method in ("joint", "first_session") and point == "tensors_saved:2":
        point = "tensors_saved:1"  # one stage that trains
    assert twins.cut_and_resumed(method, point) == twins.whole(method)


@pytest.mark.slow
def test_fifty_random_kills(twins: Twins) -> None:
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 50:
        runs += 1
        config = twins.make("o_lora", f"random-{runs}")

        def work(config: RunConfig = config) -> object:
            begun = (config.folder / "config.yaml").exists()
            return resume(config.folder, quiet()) if begun else run(config, quiet(), Workspace())

        while (status := in_child(work, after=rng.uniform(0.05, 2.5))) != 0:
            assert status == KILLED
            kills += 1
        assert snapshot(config.folder) == twins.whole("o_lora")


@pytest.mark.slow
def test_a_micro_batch_that_was_halved_stays_so_after_a_kill(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    backward = Backward.run

    def small_memory(self: Backward, *given: object) -> object:
        if self.micro > 1:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")
        return backward(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Backward, "run", small_memory)
    whole, cut = twins.make("o_lora", "whole-small"), twins.make("o_lora", "cut-small")
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), "step:25") == KILLED
    events = cut.folder.parent / "events.txt"
    assert in_child(lambda: resume(cut.folder, quiet(events))) == 0
    assert "resumed" in events.read_text(encoding="utf-8").split()
    assert snapshot(cut.folder) == snapshot(whole.folder)


def test_no_memory_for_one_example_is_one_line(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> object:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate too much")

    with monkeypatch.context() as patch:
        patch.setattr(Backward, "run", no_memory)
        said = r"task 'food', step 0: memory ran out with a single example; lower backbone\.max_length, or set"
        with pytest.raises(TrainingError, match=said):
            run(twins.make("o_lora", "no-memory"), quiet(), Workspace())
    monkeypatch.setattr(ContinualModel, "features", no_memory)
    with pytest.raises(TrainingError, match=r"texts were scored at once; set a smaller evaluation\.tokens_per_batch"):
        run(twins.make("o_lora", "no-memory-to-score"), quiet(), Workspace())


def test_the_environment_of_accelerate_changes_nothing(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "8")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    config = twins.make("o_lora", "accelerated")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    assert snapshot(config.folder) == twins.whole("o_lora")


@pytest.mark.slow
def test_another_machine_is_said_and_what_the_run_began_with_stays(twins: Twins) -> None:
    config = twins.make("o_lora", "moved")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step:30") == KILLED
    folder = RunFolder(config.folder)
    sealed = open_sealed(folder.environment)
    packages = {**folder.read_environment().packages, "torch": "0.1"}
    elsewhere = {**sealed.content, "processor": "another one", "packages": packages}
    write_sealed(folder.environment, elsewhere, sealed.of)
    events = config.folder.parent / "events.txt"
    assert in_child(lambda: resume(config.folder, quiet(events))) == 0
    assert "environment_changed" in events.read_text(encoding="utf-8").split()
    after = folder.read_environment()
    assert after.packages["torch"] == "0.1"
    (later,) = after.later
    assert later["torch"].startswith("0.1 → ")
    assert later["processor"].startswith("another one → ")


def test_a_renamed_label_is_named(twins: Twins, toy_files: dict[str, Path]) -> None:
    config = twins.make("o_lora", "renamed")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step:30") == KILLED
    data = toy_files["travel-train"].read_text(encoding="utf-8")
    test = toy_files["travel-test"].read_text(encoding="utf-8")
    try:
        toy_files["travel-train"].write_text(data.replace('"rail"', '"railway"'), encoding="utf-8")
        toy_files["travel-test"].write_text(test.replace('"rail"', '"railway"'), encoding="utf-8")
        with pytest.raises(RunError, match=r"the labels of task 'travel' have changed .*rail; now air, railway"):
            resume(config.folder, quiet())
    finally:
        toy_files["travel-train"].write_text(data, encoding="utf-8")
        toy_files["travel-test"].write_text(test, encoding="utf-8")


def test_a_torn_line_of_the_curves_and_a_damaged_slot_of_nobody_are_made_again(twins: Twins) -> None:
    config = twins.make("o_lora", "torn")
    assert in_child(lambda: run(config, quiet(), Workspace()), "tensors_saved:2") == KILLED
    folder = RunFolder(config.folder)
    lines = folder.curves.read_bytes()
    folder.curves.write_bytes(lines[:-20])
    committed = set(read_checkpoint(folder.path, 1).slots.values())
    (new,) = (path for path in config.folder.glob("slots/*") if path.name not in committed)
    (new / "adapter_model.safetensors").write_bytes(b"")
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    found, expected = snapshot(config.folder), twins.whole("o_lora")
    assert {key: found[key] for key in found if key != "curves"} == {
        key: expected[key] for key in expected if key != "curves"
    }
    assert read_curves(folder.curves)  # the torn point is lost, and every other can be read


def test_resuming_a_finished_run_changes_nothing(twins: Twins) -> None:
    config = twins.make("o_lora", "finished")
    assert in_child(lambda: run(config, quiet(), Workspace())) == 0
    before = snapshot(config.folder)
    assert in_child(lambda: resume(config.folder, quiet())) == 0
    assert snapshot(config.folder) == before == twins.whole("o_lora")


@pytest.mark.parametrize("most_bytes", [100, 2_000, 20_000, 40_000])
def test_a_full_disk_is_one_line_and_loses_nothing(
    twins: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    monkeypatch.setenv("REFUSAL", str(tmp_path / "refusal.txt"))
    config = twins.make("o_lora", "full-disk")
    status = in_child(lambda: run(config, quiet(), Workspace()), most_bytes=most_bytes)
    assert status == REFUSED
    if status == REFUSED and most_bytes > 1000:  # under it not even the refusal can be written
        line = (tmp_path / "refusal.txt").read_text(encoding="utf-8")
        assert str(config.folder) in line
        assert "\n" not in line
    begun = (config.folder / "config.yaml").exists()
    work = (lambda: resume(config.folder, quiet())) if begun else (lambda: run(config, quiet(), Workspace()))
    assert in_child(work) == 0
    assert snapshot(config.folder) == twins.whole("o_lora")


@pytest.mark.parametrize("lost", [0, 50])
def test_a_lost_fsync_inside_a_task_starts_the_task_again(twins: Twins, lost: int) -> None:
    config = twins.make("o_lora", "lost")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step_saved:30") == KILLED
    (state,) = RunFolder(config.folder).step.glob("state-*")
    state.write_bytes(state.read_bytes()[:lost])  # the disk kept the name and not the content
    events = config.folder.parent / "events.txt"
    assert in_child(lambda: resume(config.folder, quiet(events))) == 0
    assert "checkpoint_left_aside" in events.read_text(encoding="utf-8").split()
    assert snapshot(config.folder) == twins.whole("o_lora")


def test_a_checkpoint_inside_a_task_of_an_older_version_starts_the_task_again(twins: Twins) -> None:
    config = twins.make("o_lora", "older")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step_saved:30") == KILLED
    manifest = RunFolder(config.folder).step / "manifest.json"
    content = read_sealed(manifest)
    content["meter"] = {k: v for k, v in dict(content["meter"]).items() if not k.startswith("flops")}  # type: ignore[call-overload]
    write_sealed(manifest, content)
    events = config.folder.parent / "events.txt"
    assert in_child(lambda: resume(config.folder, quiet(events))) == 0
    assert "checkpoint_left_aside" in events.read_text(encoding="utf-8").split()
    assert snapshot(config.folder) == twins.whole("o_lora")


def test_a_lost_fsync_of_a_committed_slot_is_refused_by_name(twins: Twins) -> None:
    config = twins.make("o_lora", "lost-slot")
    assert in_child(lambda: run(config, quiet(), Workspace()), "checkpointed:2") == KILLED
    slot = next(config.folder.glob("slots/*/adapter_model.safetensors"))
    slot.write_bytes(b"")
    with pytest.raises(RunError, match=slot.parent.name):
        resume(config.folder, quiet())


def test_two_processes_cannot_write_one_run(twins: Twins) -> None:
    config = twins.make("o_lora", "two")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step:3") == KILLED
    with RunFolder(config.folder).lock():
        assert in_child(lambda: resume(config.folder, quiet())) == REFUSED
        with pytest.raises(RunError, match="written by another process"):
            resume(config.folder, quiet())
    assert in_child(lambda: resume(config.folder, quiet())) == 0


def test_settings_data_and_tokenizer_must_be_those_of_the_run(twins: Twins, toy_files: dict[str, Path]) -> None:
    config = twins.make("o_lora", "changed")
    assert in_child(lambda: run(config, quiet(), Workspace()), "step:30") == KILLED
    text = (config.folder / "config.yaml").read_text(encoding="utf-8")
    (config.folder / "config.yaml").write_text(text.replace("epochs: 2", "epochs: 4"), encoding="utf-8")
    with pytest.raises(RunError, match=r"config\.yaml was changed"):
        resume(config.folder, quiet())
    (config.folder / "config.yaml").write_text(text, encoding="utf-8")
    data = toy_files["travel-train"].read_text(encoding="utf-8")
    try:
        toy_files["travel-train"].write_text(data.replace("train", "plane", 1), encoding="utf-8")
        with pytest.raises(RunError, match="data of task 'travel' have changed"):
            resume(config.folder, quiet())
    finally:
        toy_files["travel-train"].write_text(data, encoding="utf-8")
    assert FAILED not in (in_child(lambda: resume(config.folder, quiet())),)
    assert snapshot(config.folder) == twins.whole("o_lora")
