"""Gumbel CL-LoRA in whole runs: its shares, what goes, what is logged, and a kill that changes no bit."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from together import together

from plora.build import Workspace
from plora.config import RunConfig
from plora.gates import GumbelSparsemax
from plora.gates import gumbel_sparsemax as file_of_the_gate
from plora.moment import Moment
from plora.results import Point, read_curves, read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, extend, resume, run, verify
from plora.streams.local import LocalTask
from plora.tensor_file import load_tensors

Make = Callable[..., RunConfig]


@pytest.fixture
def make(toy_config: Make, tmp_path: Path) -> Make:
    def config(name: str, *overrides: str, **settings: object) -> RunConfig:
        gate = json.dumps({"kind": "gumbel_sparsemax", **settings})
        common = ("method=gumbel_cl_lora", "training.epochs=2", f"gate={gate}")
        found = toy_config(*common, *overrides, f"output={tmp_path / name}")
        return found.model_copy(update={"stream": found.stream.model_copy(update={"tasks": found.stream.tasks[:2]})})

    return config


def learned(folder: Path) -> list[dict[str, torch.Tensor]]:
    """What the gate knew after each task."""
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    return [load_tensors(place.gate(manifest.router)) for manifest in manifests if manifest.router]


def points(folder: Path, task: str) -> list[Point]:
    return [point for point in read_curves(folder / "curves.jsonl") if point.task == task]


@pytest.mark.parametrize("per", ["slot", "layer"])
def test_shares_train_and_everything_is_said(make: Make, per: str) -> None:
    config = make("told", per=per, growth="all")
    run(config)
    states = learned(config.folder)
    assert [sum(name.startswith("logit") for name in state) for state in states] == [1, 2]
    last = states[-1]
    assert all(last[f"logit of {task}"].any() for task in ("food", "travel"))
    assert {tuple(tensor.shape) for name, tensor in last.items() if name != "temperature"} == {
        (1,) if per == "slot" else (8,)
    }
    food, travel = points(config.folder, "food"), points(config.folder, "travel")
    assert all(point.diagnostics.keys() >= {"gate_dead", "gate_entropy"} for point in food)
    assert {point.diagnostics["gate_active"] for point in food} == {1}
    assert travel[0].terms["gate_sparsity"] > 0
    temperatures = [point.diagnostics["gate_temperature"] for point in travel]
    assert temperatures == sorted(temperatures, reverse=True)
    assert 0.5 < temperatures[-1] < 0.65
    assert last["temperature"].item() == pytest.approx(temperatures[-1])
    record = read_record(config.folder)
    assert len(record.gates[-1]) == 2
    first, last = record.slot_states
    assert first is not None
    assert last is not None
    assert (first.opened, first.active, last.opened, last.active, last.pruned, last.dropped) == (1, 1, 2, 2, 0, False)
    assert last.reason.startswith("its share is ")
    assert sum(last.vectors["share"].values()) == pytest.approx(1)
    for slot, value in record.gates[-1].items():
        told = last.vectors["share"][slot] * last.vectors["magnitude"][slot]
        assert value == pytest.approx(told) or per == "layer"  # there the mean of a product is none of means
    assert record.passes == 1
    assert record.cost[-1].kept_bytes > record.cost[0].kept_bytes > 0
    log = (config.folder / "log.txt").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in log if "event=slots task=travel" in line]
    shown = {name: f"{value:.4g}" for name, value in last.vectors["share"].items()}
    assert f"active=2/2 share=food:{shown['food']},travel:{shown['travel']} magnitude=food:" in line
    epochs = [dict(word.split("=", 1) for word in line.split()[1:]) for line in log if "event=epoch_done" in line]
    assert [(line["task"], line["epoch"]) for line in epochs] == [
        *(("food", "1/2"), ("food", "2/2"), ("travel", "1/2"), ("travel", "2/2"))
    ]
    assert float(epochs[2]["tau"]) > float(epochs[3]["tau"]) == pytest.approx(temperatures[-1], rel=1e-3)
    parts = float(epochs[3]["loss_cross_entropy"]) + float(epochs[3]["loss_gate_sparsity"])
    assert float(epochs[3]["loss"]) == pytest.approx(parts, rel=1e-3)
    assert all(0 <= float(line["train_accuracy_while_learning"]) <= 1 for line in epochs)
    assert not any("validation_accuracy" in line for line in epochs)  # nothing is scored that was not asked for
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


def test_every_pass_of_a_step_has_the_same_noise(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each micro-batch, and when a block is computed again."""
    asked: dict[tuple[int, int], list[torch.Tensor]] = {}
    original = GumbelSparsemax.shares

    def watched(self: GumbelSparsemax, slots: tuple[str, ...], at: Moment | None = None) -> torch.Tensor:
        shares = original(self, slots, at)
        if at is not None:
            asked.setdefault((at.task, at.seed), []).append(shares.detach())
        return shares

    monkeypatch.setattr(GumbelSparsemax, "shares", watched)
    common = ("lora.dropout=0", "training.epochs=1")
    small = (*common, "training.micro_batch_size=3", "training.activation_checkpointing=true")
    whole, parts = make("whole", *common, growth="all"), make("parts", *small, growth="all")
    for config, passes in ((whole, 3), (parts, 5)):
        run(config, quiet(), Workspace())
        assert all(torch.equal(shares, found[0]) for found in asked.values() for shares in found)
        assert max(map(len, asked.values())) == passes  # each micro-batch, and two for the penalty
        of_last = [found[0] for (task, _), found in asked.items() if task == 1]
        assert len({tuple(shares.flatten().tolist()) for shares in of_last}) > len(of_last) / 2
        asked.clear()
    for one, two in zip(learned(whole.folder), learned(parts.folder), strict=True):
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


def test_a_slot_that_goes_is_gone_from_compute_and_disk(make: Make) -> None:
    config = make("pruned", growth="absolute", threshold=0.99, guard=None)
    run(config)
    assert len([*config.folder.glob("slots/*")]) == 1  # the first task's always stays
    assert [*learned(config.folder)[-1]] == ["logit of food", "magnitude of food", "temperature"]
    assert [*map(len, read_record(config.folder).gates)] == [1, 1]
    log = (config.folder / "log.txt").read_text(encoding="utf-8")
    assert log.count("event=gate") == 2
    assert log.count("dropped=true") == 1
    assert "more_than_0.9900_is_wanted" in log
    last = read_record(config.folder).slot_states[-1]
    assert last is not None
    assert (last.opened, last.active, last.pruned, last.dropped) == (2, 1, 1, True)
    assert last.vectors == {"share": {"food": 1.0}, "magnitude": last.vectors["magnitude"]}
    assert verify(config.folder).problems == ()


def test_switched_off_it_is_the_sum_of_all_slots(make: Make) -> None:
    """The honest baseline: no noise, no shares, no penalty, nothing goes."""
    off = make("off", "gate={kind: all_ones}")
    summed = make("sum", "gate={kind: all_ones}", "method=o_lora", "strategies=[{kind: orthogonality, weight: 0}]")
    for config in (off, summed):
        run(config, quiet(), Workspace())
    assert read_record(off.folder).gates[-1] == {"food": 1.0, "travel": 1.0}
    slots = [sorted(path.name for path in config.folder.glob("slots/*")) for config in (off, summed)]
    assert len(slots[0]) == 2
    assert slots[0] == slots[1]  # named by the hash of what they hold


def test_two_phases_train_first_the_slot_and_then_the_shares(make: Make) -> None:
    phases = "phases=[{train: [adapter, head, 'gate.magnitudes']}, {train: ['gate.logits'], epochs: 2}]"
    config = make("phases", phases, growth="all")
    run(config, quiet(), Workspace())
    first, second = learned(config.folder)[:2]
    assert not first["logit of food"].any()
    assert second["logit of travel"].any()
    found = [point.diagnostics["gate_temperature"] for point in points(config.folder, "travel")]
    assert sum(later > earlier for earlier, later in itertools.pairwise(found)) == 1  # anew in each phase


def test_the_sparsity_term_makes_shares_few_and_multiplied_by_zero_it_does_not(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entropy of two shares after training, ln 2 = 0.69 where they are equal."""

    def entropy(name: str) -> float:
        # Steps that grow with the gradient: AdamW's have one length, whatever the term weighs.
        plain = ("training.epochs=4", "training.learning_rate=0.1", "training.optimizer={kind: sgd, momentum: 0}")
        config = make(name, *plain, sparsity=50.0, growth="all", noise=0, temperature=(1.0, 1.0))
        run(config, quiet(), Workspace())
        return points(config.folder, "travel")[-1].diagnostics["gate_entropy"]

    assert entropy("sparse") < 0.1
    monkeypatch.setattr(file_of_the_gate, "_entropy", _without_gradient(file_of_the_gate._entropy))
    assert entropy("silent") > 0.6


def _without_gradient(term: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same number, of which nothing is learned: its gradient is multiplied by zero."""
    return lambda shares: term(shares.detach()) + 0 * shares.sum()


@pytest.mark.parametrize(
    "point",
    ["step:21", pytest.param("step_saved:20", marks=pytest.mark.slow), pytest.param("epoch:3", marks=pytest.mark.slow)],
)
def test_a_run_killed_in_a_task_ends_with_the_same_bits(make: Make, point: str, tmp_path: Path) -> None:
    settings = ("training.checkpoint_seconds=0", "training.micro_batch_size=4")
    whole, cut = (make(name, *settings, "training.early_stop=2", anneal="epoch") for name in ("whole", "cut"))
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), point) == KILLED
    events = tmp_path / "events"
    assert in_child(lambda: resume(cut.folder, quiet(events))) == 0
    assert "resumed" in events.read_text(encoding="utf-8").split()
    assert snapshot(cut.folder) == snapshot(whole.folder)


def test_two_processes_learn_what_one_learns(make: Make, tmp_path: Path) -> None:
    one, two = (make(name, "training.epochs=1", "lora.dropout=0", growth="all") for name in ("alone", "two"))
    assert in_child(lambda: run(one, quiet(), Workspace())) == 0
    assert together(2, lambda _: run(two, quiet(), Workspace()), tmp_path / "place") == [0, 0]
    for first, second in zip(learned(one.folder), learned(two.folder), strict=True):
        for name in first:
            torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-4)
    assert verify(two.folder).problems == ()


def test_a_task_may_arrive_later(make: Make, toy_files: dict[str, Path]) -> None:
    config = make("later", "training.epochs=1", growth="all")
    run(config, quiet(), Workspace())
    files = {split: str(toy_files[f"nature-{split}"]) for split in ("train", "test")}
    extend(config.folder, LocalTask(name="v1.5", **files), quiet())
    assert {"logit of v1%2E5", "logit of food"} <= learned(config.folder)[-1].keys()
    assert "v1.5" in read_record(config.folder).gates[-1]
    assert verify(config.folder).problems == ()
