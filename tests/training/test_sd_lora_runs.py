"""SD-LoRA in whole runs, on texts and on images: magnitudes that train, ranks that fall, slots that go into others."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from tiny_images import VALUES, new_backbone

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.configs import find_config
from plora.dry_run import dry_run
from plora.errors import ConfigError
from plora.export import export
from plora.gates import GumbelSparsemaxSettings
from plora.optimizers.settings import SGD
from plora.params import count_parameters
from plora.plain_yaml import parse_yaml
from plora.results import read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, verify
from plora.tensor_file import load_tensors

Make = Callable[..., RunConfig]

SMALL = ("lora.rank=2", "lora.alpha=2", "training.precision=fp32", "training.batch_size=16", "training.epochs=4")


@pytest.fixture
def make(toy_config: Make, tmp_path: Path) -> Make:
    def config(name: str, *overrides: str, **gate: object) -> RunConfig:
        given = () if not gate else (f"gate={json.dumps({'kind': 'magnitudes', **gate})}",)
        common = ("method=sd_lora", "scenario=class", "training.epochs=2", *given)
        found = toy_config(*common, *overrides, f"output={tmp_path / name}")
        return found.model_copy(update={"stream": found.stream.model_copy(update={"tasks": found.stream.tasks[:2]})})

    return config


def learned(folder: Path) -> list[dict[str, torch.Tensor]]:
    """What the gate knew after each task."""
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    return [load_tensors(place.gate(manifest.router)) for manifest in manifests if manifest.router]


def ranks(folder: Path) -> list[int]:
    """Of each task's slot on disk, in their order."""
    place = RunFolder(folder)
    last = read_checkpoint(place.path, place.complete()[-1])
    files = [place.slot(content) / "adapter_config.json" for content in last.slots.values()]
    return [json.loads(file.read_text(encoding="utf-8"))["r"] for file in files]


def test_every_magnitude_goes_on_training_and_directions_stay(make: Make) -> None:
    config = make("told")
    run(config, quiet(), Workspace())
    states = learned(config.folder)
    assert [*map(len, states)] == [1, 2]
    assert all(tensor.shape == (1,) for tensor in states[-1].values())
    assert all((states[1][name] - tensor).abs() > 1e-3 for name, tensor in states[0].items())
    first, second = (read_checkpoint(config.folder, number).slots for number in (1, 2))
    assert first.items() < second.items()  # by the hash of what they hold
    shown = {name: pytest.approx(states[1][f"magnitude of {name}"].item()) for name in second}
    assert read_record(config.folder).gates[-1] == shown
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


def test_as_published_it_starts_again_and_the_record_says_so(make: Make) -> None:
    config = make("published", compat="repo")
    run(config, quiet(), Workspace())
    said = read_record(config.folder).settings["gate"]
    assert isinstance(said, dict)
    assert (said["start"], said["carried"], said["divided_by"]) == (0.8, False, "factors")
    first, last = learned(config.folder)
    assert {name for name in first if name.startswith("norms")} == {"norms food"}
    assert {name for name in last if name.startswith("norms")} == {"norms travel"}
    assert verify(config.folder).problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("gate", [{"compat": "repo"}, {"absorb": 0.9}])
def test_a_run_killed_in_the_second_task_ends_with_the_same_bits(make: Make, gate: dict[str, object]) -> None:
    """As published, the first slot has lost its norms by then."""
    whole, cut = (make(name, "training.checkpoint_seconds=0", **gate) for name in ("whole", "cut"))
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), "step:21") == KILLED
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    assert snapshot(cut.folder) == snapshot(whole.folder)


def test_ranks_fall_and_everything_counts_them(make: Make, tmp_path: Path) -> None:
    config = make("falling", "method=sd_lora_rr", "lora.rank=4", "lora.ranks={1: 3, 5: 1}")
    assert load_config(config.model_dump(mode="json")) == config
    numbers = count_parameters(config)
    assert [(task, number / dict(numbers.later)[5]) for task, number in numbers.later] == [(1, 3), (5, 1)]
    assert "from task 5 on (counted from 0) slots have" in numbers.describe()
    run(config, quiet(), Workspace())
    assert ranks(config.folder) == [4, 3]
    assert verify(config.folder).problems == ()
    export(config.folder, tmp_path / "exported")
    stored = json.loads((tmp_path / "exported" / "adapter_config.json").read_text(encoding="utf-8"))
    assert stored["r"] == 7
    falling, even = (dry_run(other, steps=1).disk_bytes for other in (config, make("even", "lora.rank=4")))
    rows = (even - falling) / (4 * dict(numbers.later)[5])  # numbers of one row of A and of B in every layer
    assert rows == pytest.approx(1, rel=0.05)


def test_ranks_and_gate_are_those_of_the_method_where_they_are_not_set(toy_config: Make) -> None:
    config = toy_config("method=sd_lora_rr", "lora={targets: attention}")
    assert config.lora is not None
    assert [config.lora.at(task).rank for task in (0, 3, 4, 7, 8, 30)] == [10, 10, 8, 8, 6, 6]
    assert [config.lora.at(task).shape().scale for task in range(10)] == [pytest.approx(1.6)] * 10
    assert config.lora.model_copy(update={"rslora": True}).at(8).shape().scale == pytest.approx(16 / 10**0.5)
    own = toy_config("method=sd_lora_kd").resolved_gate()
    assert own == toy_config("method=sd_lora_kd", "gate={kind: magnitudes, per: slot}").gate
    for method in ("sequential", "merged_magmax"):
        with pytest.raises(ConfigError, match=f"lora.ranks: the slots of method '{method}' have one rank"):
            toy_config(f"method={method}", "lora.ranks={4: 8}")
    writer = "strategies=[{kind: generative_replay, generator: {kind: causal, id: x, lora: {ranks: {1: 2}}}}]"
    with pytest.raises(ConfigError, match=r"those of a generator have one rank, leave it out"):
        toy_config("method=generative_replay", writer)
    with pytest.raises(ConfigError, match=r"lora.ranks.*greater than or equal to 1"):
        toy_config("lora.ranks={0: 4}")


def test_a_slot_that_goes_is_in_no_checkpoint(make: Make) -> None:
    """ρ is never above 1: the second slot goes."""
    config = make("gone", "method=sd_lora_kd", absorb=1)
    run(config)
    assert len([*config.folder.glob("slots/*")]) == 1
    assert [*learned(config.folder)[-1]] == ["magnitude of food"]
    log = (config.folder / "log.txt").read_text(encoding="utf-8")
    assert log.count("dropped=true") == 1
    assert log.count("their_magnitudes_take_it_over") == 1
    assert verify(config.folder).problems == ()


def shipped(name: str, *overrides: str) -> RunConfig:
    """A shipped config, with a tiny stream and a tiny network in place of its own."""
    values = parse_yaml(find_config(f"image_classification/{name}").read_text(encoding="utf-8"))
    assert isinstance(values, dict)
    tiny = {"stream": VALUES["stream"], "backbone": new_backbone("vit")}
    return load_config(values | tiny, (*SMALL, *overrides))


@pytest.mark.parametrize("method", ["sd_lora", "sd_lora_rr", "sd_lora_kd"])
def test_images_are_learned_with_the_shipped_config(method: str, tmp_path: Path) -> None:
    more = ("lora.ranks={1: 1}",) if method == "sd_lora_rr" else ()
    faster = ("training.learning_rate=0.1", f"output={tmp_path / 'runs'}")
    folder = run(shipped("sd_lora", f"method={method}", *more, *faster), quiet())
    assert ranks(folder) == ([2, 1] if more else [2, 2])  # what is learned apart is no sum of the other
    first, second = learned(folder)
    assert (second["magnitude of zero-four"] - first["magnitude of zero-four"]).abs() > 1e-4
    matrix = read_record(folder).matrix
    assert matrix[1, 0] > matrix[0, 0] + 0.2  # the first task is learned
    assert verify(folder).problems == ()


def test_the_shipped_gumbel_gate_trains_in_two_phases_on_images(tmp_path: Path) -> None:
    """As a comment in the config has it; its numbers are those of the guide it comes from."""
    text = find_config("image_classification/gumbel_cl_lora").read_text(encoding="utf-8")
    (phases,) = re.findall(r'"(phases=\[.*\])"', text)
    config = shipped("gumbel_cl_lora", re.sub(r"epochs: \d+", "epochs: 2", phases), f"output={tmp_path / 'runs'}")
    gate = config.gate
    assert isinstance(gate, GumbelSparsemaxSettings)
    assert (gate.temperature, gate.rho, gate.anneal, gate.sparsity) == ((5, 0.5), 0.999, "step", 0.01)
    assert (gate.growth, gate.threshold) == ("absolute", 0.1)
    assert (config.training.optimizer, config.training.learning_rate) == (SGD(momentum=0.9), 0.008)
    folder = run(config, quiet())
    assert len(ranks(folder)) == 2
    assert learned(folder)[-1]["logit of five-nine"].any()
    assert verify(folder).problems == ()
