"""A noisy, pruning, trainable gate outside of the package: it trains, is killed, resumed, shared, told and refused."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from noisy_gate import NoisyGate, NoisyGateSettings

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet, snapshot
from together import together

from plora.build import Workspace
from plora.config import RunConfig
from plora.dry_run import dry_run
from plora.errors import AdapterError, RunError, TrainingError
from plora.export import export
from plora.failpoints import FAILPOINTS
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.moment import Moment
from plora.results import read_curves, read_record, write_report, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, resume, run, verify
from plora.strategies import Sparsity
from plora.streams.local import LocalTask
from plora.tensor_file import load_tensors
from plora.testing import ConformanceError, check_gate

Make = Callable[..., RunConfig]
SETTINGS = ("method=n_lora", "training.epochs=1", "training.learning_rate=0.05", "lora.dropout=0")


def gate(**settings: object) -> str:
    inner = "".join(f", {name}: {value}" for name, value in settings.items())
    return f"gate={{kind: 'noisy_gate:NoisyGateSettings'{inner}}}"


@pytest.fixture
def make(toy_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")

    def config(name: str, *overrides: str, **settings: object) -> RunConfig:
        found = toy_config(*SETTINGS, gate(**settings), *overrides, f"output={tmp_path / name}")
        return found.model_copy(update={"stream": found.stream.model_copy(update={"tasks": found.stream.tasks[:2]})})

    return config


def gate_states(folder: Path) -> list[dict[str, torch.Tensor]]:
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    return [{} if m.router is None else load_tensors(place.gate(m.router)) for m in manifests]


@pytest.mark.parametrize("settings", [{}, {"per": "layer"}, {"per": "site"}, {"noise": 0.0}, {"weight": 0.0}])
def test_it_conforms(settings: dict[str, object]) -> None:
    check_gate(NoisyGate, NoisyGateSettings(**settings))


@pytest.mark.parametrize(("per", "number"), [("slot", 1), ("layer", 4), ("site", 4)])
def test_its_parameters_train_and_are_kept_task_by_task(make: Make, per: str, number: int) -> None:
    config = make("trained", "lora.layers=last 1", per=per)
    run(config, quiet(), Workspace())
    first, second = gate_states(config.folder)
    assert list(first) == ["of food"]
    assert sorted(second) == ["of food", "of travel"]
    assert all(logit.shape == (number,) and logit.abs().max() > 0 for logit in second.values())
    points = read_curves(config.folder / "curves.jsonl")
    assert {"gate_size"} <= points[-1].terms.keys()
    assert points[-1].diagnostics["gate_largest"] > 0
    weights = read_record(config.folder).gates[1]
    assert sum(weights.values()) == pytest.approx(1)
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


def test_noise_is_that_of_the_step_in_every_micro_batch_and_when_a_block_is_computed_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[int, list[torch.Tensor]] = {}
    in_evaluation: list[None] = []
    original = NoisyGate.route

    def watched(self: NoisyGate, slots: object, task: object, at: Moment | None = None) -> object:
        route = original(self, slots, task, at)
        if at is None:
            in_evaluation.append(None)
        elif route.coefficients is not None:
            asked.setdefault(at.seed, []).append(route.coefficients.detach())
        return route

    monkeypatch.setattr(NoisyGate, "route", watched)
    plain, small, again = make("plain"), make("small", "training.micro_batch_size=3"), make("again")
    again = again.model_copy(update={"training": again.training.model_copy(update={"activation_checkpointing": True})})
    for config in (plain, small, again):
        run(config, quiet(), Workspace())
        assert all(torch.equal(c, found[0]) for found in asked.values() for c in found)
        asked.clear()
    assert in_evaluation
    for one, two, three in zip(*(gate_states(c.folder) for c in (plain, small, again)), strict=True):
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(three[name], one[name], rtol=1e-3, atol=1e-4)


def test_phases_that_leave_it_as_it_was_made_are_refused(make: Make) -> None:
    with pytest.raises(TrainingError, match=r"belong to the gate, such as .*no phase trains them; add 'gate'"):
        run(make("untrained", "phases=[{train: [adapter, head]}]"), quiet(), Workspace())
    trained = make("pattern", "phases=[{train: [adapter, head]}, {train: ['gate.logits']}]")
    run(trained, quiet(), Workspace())
    assert all(logit.abs().max() > 0 for logit in gate_states(trained.folder)[1].values())


def test_coefficients_for_another_network_are_one_line(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoisyGate, "_number", lambda self: 5)
    with pytest.raises(AdapterError, match=r"coefficients per layer are for 5 layers, the network has 8"):
        run(make("layers", per="layer"), quiet(), Workspace())
    assert not make("layers", per="layer").folder.exists()  # nothing was written
    with pytest.raises(ConformanceError, match=r"coefficients per layer are as many as the network has.*got 5"):
        check_gate(NoisyGate, NoisyGateSettings(per="layer"))


def test_a_slot_that_is_not_needed_is_gone_from_compute_and_disk(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[ContinualModel] = []
    original = ContinualModel.commit

    def watched(self: ContinualModel, *given: object) -> object:
        verdict = original(self, *given)
        models.append(self)
        assert verdict.drop
        assert self.adapters is not None
        assert not self.adapters.names
        assert dict(self.gate.named_parameters()) == {}
        return verdict

    monkeypatch.setattr(ContinualModel, "commit", watched)
    config = make("dropped", worth=2)
    run(config)
    assert len(models) == 2
    assert [*config.folder.glob("slots/*")] == []
    assert [state for state in gate_states(config.folder) if state] == []
    log = (config.folder / "log.txt").read_text()
    assert log.count("event=gate") == 2
    assert "wanted" in log
    assert read_record(config.folder).gates == ({}, {})
    assert verify(config.folder).problems == ()


def test_the_one_slot_of_all_tasks_may_be_dropped_and_is_opened_anew(make: Make) -> None:
    config = make("one", "method=sequential", worth=2)
    run(config, quiet(), Workspace())
    assert [*config.folder.glob("slots/*")] == []
    assert verify(config.folder).problems == ()


def test_a_slot_that_is_too_large_is_scaled_down(make: Make) -> None:
    config = make("rescaled", largest=1e-4)
    run(config)
    assert "scaled" in (config.folder / "log.txt").read_text()
    assert verify(config.folder).problems == ()


def test_a_dry_run_counts_its_logits_and_what_a_strategy_fixes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed: list[int] = []

    def design(self: Sparsity, model: ContinualModel, lesson: Lesson) -> tuple[str, ...]:
        names = [name for name in model.trainable() if name.endswith(".A")]
        fixed.append(sum(model.trainable()[name].numel() for name in names))
        return tuple(names)

    config = make("counted", per="layer")
    plain = dry_run(config, steps=1)
    assert plain.remembers
    assert "what the method remembers of old tasks comes on top" in plain.describe()
    uniform = config.model_copy(update={"gate": None})
    without = dry_run(uniform, steps=1)
    assert (plain.trainable - without.trainable, plain.disk_bytes) == (8, without.disk_bytes)
    assert not without.remembers
    monkeypatch.setattr(Sparsity, "design", design)
    estimate = dry_run(config, steps=1)
    assert fixed[0] > 0
    assert (plain.trainable - estimate.trainable, estimate.frozen - plain.frozen) == (fixed[0], fixed[0])
    assert estimate.disk_bytes == plain.disk_bytes
    run(config, quiet(), Workspace())
    assert read_record(config.folder).cost[0].trainable_parameters == estimate.trainable


LATE = {"write": 9, "micro_batch": 24, "step": 10, "step_saved": 11, "epoch": 2, "tensors_saved": 2, "trained": 2}
INSIDE = {"micro_batch", "step", "step_saved", "epoch", "trained"}
"""Points inside the second stage, of which steps are saved already."""
QUICK = {"step", "committed", "tensors_saved"}


@pytest.fixture(scope="module")
def whole_run() -> dict[str, object]:
    return {}


@pytest.mark.parametrize(
    "point",
    [pytest.param(p, marks=() if p in QUICK else pytest.mark.slow) for p in FAILPOINTS if p != "extended"],
)
def test_a_run_killed_at_any_point_ends_with_the_same_bits(
    make: Make, point: str, whole_run: dict[str, object], tmp_path: Path
) -> None:
    settings = ("training.checkpoint_seconds=0", "training.micro_batch_size=4", "training.early_stop=2")
    if not whole_run:
        whole = make("whole", *settings, largest=0.5, worth=-1)
        assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
        whole_run |= snapshot(whole.folder)
    config = make("cut", *settings, largest=0.5, worth=-1)
    where = f"{point}:{LATE.get(point, 2 if point not in ('created', 'untrained') else 1)}"
    assert in_child(lambda: run(config, quiet(), Workspace()), where) == KILLED, where
    begun = (config.folder / "config.yaml").exists()
    events = tmp_path / "events"
    work = (lambda: resume(config.folder, quiet(events))) if begun else (lambda: run(config, quiet(), Workspace()))
    assert in_child(work) == 0
    assert snapshot(config.folder) == whole_run
    if point in INSIDE:
        assert "resumed" in events.read_text(encoding="utf-8").split()


@pytest.mark.slow
def test_a_run_killed_when_it_got_a_task_more_learns_that_task(make: Make, toy_files: dict[str, Path]) -> None:
    task = LocalTask(name="later", train=str(toy_files["nature-train"]), test=str(toy_files["nature-test"]))
    whole, cut = make("whole"), make("cut")
    for config, point, status in ((whole, "", 0), (cut, "extended", KILLED)):
        assert in_child(lambda c=config: run(c, quiet(), Workspace())) == 0
        assert in_child(lambda c=config: extend(c.folder, task, quiet()), point) == status
    assert len(gate_states(cut.folder)) == 2
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    assert sorted(gate_states(cut.folder)[2]) == ["of food", "of later", "of travel"]
    assert snapshot(cut.folder) == snapshot(whole.folder)


def test_two_processes_learn_what_one_learns(make: Make, tmp_path: Path) -> None:
    one, two = make("alone"), make("two")
    assert in_child(lambda: run(one, quiet(), Workspace())) == 0
    assert together(2, lambda _: run(two, quiet(), Workspace()), tmp_path / "place") == [0, 0]
    for first, second in zip(gate_states(one.folder), gate_states(two.folder), strict=True):
        assert first.keys() == second.keys()
        for name in first:
            torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-4)
    assert verify(two.folder).problems == ()


def test_a_folder_cannot_decide_that_its_code_runs(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make("trust")
    run(config, quiet(), Workspace())
    monkeypatch.delenv("PLORA_TRUST_OWN_PARTS")
    with pytest.raises(RunError, match="asks to run Python code of 'noisy_gate:NoisyGateSettings'"):
        verify(config.folder)


def test_it_is_reported_tabled_and_exported_as_one_adapter_of_its_slots(make: Make, tmp_path: Path) -> None:
    config = make("told")
    run(config, quiet(), Workspace())
    write_report([config.folder], tmp_path / "report.html")
    assert "n_lora" in (tmp_path / "report.html").read_text()
    assert "n_lora" in write_table([config.folder], "methods", None, "markdown", False, None)[0]
    assert (export(config.folder, tmp_path / "exported") / "adapter_model.safetensors").exists()
