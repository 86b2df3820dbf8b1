"""Gates that read inputs in whole runs, on texts and on images: what is kept, what is silent, what is forgotten."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import KILLED, in_child, quiet, snapshot
from tiny_images import VALUES, new_backbone

from plora.build import Workspace, build
from plora.config import RunConfig, load_config
from plora.errors import ConfigError
from plora.results import read_record
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.checkpoint import load_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, verify
from plora.tensor_file import load_tensors

Make = Callable[..., RunConfig]


@pytest.fixture
def images(tmp_path: Path) -> Make:
    def config(network: str, *overrides: str) -> RunConfig:
        values = {
            **VALUES,
            "scenario": "class",
            "method": "gain_lora",
            "backbone": new_backbone(network),
            "lora": {"rank": 2, "targets": {"resnet": "all_conv", "vit": "attention"}[network]},
            "training": {"epochs": 8, "batch_size": 16, "learning_rate": 0.02, "checkpoint_seconds": 0},
            "output": str(tmp_path / "runs"),
        }
        return load_config(values, overrides)

    return config


def kept(folder: Path) -> list[dict[str, torch.Tensor]]:
    """What the gate knew after each task."""
    place = RunFolder(folder)
    manifests = [read_checkpoint(place.path, number) for number in place.complete()]
    return [load_tensors(place.gate(manifest.router)) for manifest in manifests if manifest.router]


def openness(config: RunConfig) -> np.ndarray:
    """Of the finished run, the mean gate of each slot on each task's test split, `[tasks, slots]`."""
    parts, place = build(config), RunFolder(config.folder)
    load_checkpoint(place, read_checkpoint(place.path, place.complete()[-1]), parts.learner)
    found = [parts.learner.extractor.weights(task.splits["test"], None) for task in parts.tasks]
    return np.array([weights.mean(0).tolist() for weights in found if weights is not None])


def test_new_gates_are_silent_on_older_tasks_and_older_gates_stay(toy_config: Make) -> None:
    config = toy_config(
        "method=gain_lora", "scenario=class", "training.epochs=2", "gate={kind: gain, remember: 0.9999}"
    )
    run(config, quiet(), Workspace())
    states = kept(config.folder)
    for earlier, later in pairwise(states):
        gates = [name for name in earlier if name.startswith("gate of")]
        assert all(torch.equal(later[name], earlier[name]) for name in gates)
    found = openness(config)
    assert found.shape == (3, 3)
    assert np.diag(found).min() > 0.7
    assert max(found[0, 1], found[0, 2], found[1, 2]) < 0.05
    record = read_record(config.folder)
    assert record.passes == 2
    assert record.gates[-1] == {}  # no slot has one coefficient for all inputs
    assert [(state.opened, state.active) for state in record.slot_states if state] == [(1, 1), (2, 2), (3, 3)]
    assert verify(config.folder).problems == ()


def test_less_is_forgotten_than_by_the_same_slots_that_all_inputs_read(toy_config: Make) -> None:
    def forgotten(kind: str) -> float:
        config = toy_config("method=gain_lora", f"gate={{kind: {kind}}}", f"name={kind}")
        record = read_record(run(config, quiet(), Workspace()))
        assert np.diag(record.matrix[1:]).min() > 0.8, record.matrix  # each was learned
        found = record.metrics["forgetting"].value
        assert found is not None
        return found

    plain = forgotten("all_ones")
    assert plain > 0.1
    assert forgotten("gain") < plain / 2


@pytest.mark.parametrize("network", [pytest.param("resnet", marks=pytest.mark.slow), "vit"])
def test_images_are_learned(images: Make, network: str) -> None:
    config = images(network)
    folder = run(config, quiet())
    matrix = read_record(folder).matrix
    assert matrix[1, 0] > matrix[0, 0] + 0.2, matrix
    assert (openness(config)[1] > 0.3).all()  # both slots answer for the second task
    assert verify(folder).problems == ()
    assert evaluate(folder).changed == 0


@pytest.mark.slow
def test_images_killed_inside_the_second_task_end_with_the_same_bits(images: Make, tmp_path: Path) -> None:
    whole, cut = (images("vit", "training.epochs=2", f"output={tmp_path / name}") for name in ("whole", "cut"))
    assert in_child(lambda: run(whole, quiet(), Workspace())) == 0
    assert in_child(lambda: run(cut, quiet(), Workspace()), "trained:2") == KILLED
    assert in_child(lambda: resume(cut.folder, quiet())) == 0
    assert snapshot(cut.folder) == snapshot(whole.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ("strategies=[{kind: inf_lora}]",),  # as published
        ("strategies=[{kind: orthogonality}]", "head=ranpac"),
        ("lora.layers=last 1", "training.activation_checkpointing=true"),
        ("training.precision=bf16", "backbone.pooling=first"),
    ],
)
def test_it_goes_with_what_protects_and_what_saves(toy_config: Make, settings: tuple[str, ...]) -> None:
    config = toy_config("method=gain_lora", "scenario=class", "training.epochs=2", *settings)
    run(config, quiet(), Workspace())
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0


@pytest.mark.parametrize("method", ["sequential", "merged_ties"])
def test_one_slot_is_not_weighed_by_input(toy_config: Make, method: str) -> None:
    for kind in ("gain", "router"):
        with pytest.raises(ConfigError, match=f"gate: '{kind}' weighs the slots of all tasks for each input, and"):
            toy_config(f"method={method}", f"gate={json.dumps({'kind': kind})}")
