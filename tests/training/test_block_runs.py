"""Codec blocks from pretraining to adapters: the shipped configs in a tiny form."""

from pathlib import Path

import numpy as np
import pytest
import torch

from plora.backbones import load_image_backbone
from plora.cache import CACHE
from plora.config import RunConfig, load_config
from plora.configs import find_config, find_sweep
from plora.errors import RunError
from plora.optimizers.depth import blocks_above
from plora.results import read_record
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, run, verify
from plora.runs.loading import load_learner
from plora.runs.pretraining import pretrain
from plora.streams.base import Stream
from plora.streams.blocks import BlockArray
from plora.sweep import load_sweep, plan_runs

NETWORK = (
    "{model_type: resnet, num_channels: 2, embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], layer_type: basic}"
)
PRETRAIN, ADAPT = "image_classification/blocks_pretrain", "image_classification/blocks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture(autouse=True)
def own_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(folder / "cache"))


def config_of(folder: Path, name: str, *more: str) -> RunConfig:
    own = ["stream.data.photographs=[flower]", "stream.data.quantisers=[48]", "stream.train_per_class=8"]
    own += [
        "stream.validation_per_class=4",
        "stream.test_per_class=6",
        "training.epochs=1",
        f"output={folder / 'runs'}",
    ]
    return load_config(find_config(name), [*own, *more])


@pytest.fixture(scope="module")
def adapted(folder: Path) -> Path:
    """A run of the second stage on a network that has learned the first one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE, str(folder / "cache"))
        pretrain(config_of(folder, PRETRAIN, f"backbone.network={NETWORK}"), PRETRAIN)
        return run(config_of(folder, ADAPT, "bottleneck.width=4", "bottleneck.stages=[1, 2]"))


def stream_of(folder: Path) -> Stream:
    return RunFolder.existing(folder).read_config().stream.load()


def test_a_network_that_has_learned_the_first_stage_is_adapted_to_the_second(adapted: Path) -> None:
    record = read_record(adapted)
    assert record.score.name == "macro_f1"
    assert verify(adapted).problems == ()
    learner, _, _ = load_learner(adapted)
    (task,) = stream_of(adapted).tasks
    assert task.label_names == ("SPLIT", "RECT", "AB")
    assert isinstance(task.test, BlockArray)
    assert task.test.costs is not None
    assert np.array_equal(task.test.costs.argmin(axis=1), task.test.labels)
    assert learner.backbone.network.config.num_channels == 2


def test_the_quantiser_reaches_the_network(adapted: Path) -> None:
    learner, _, _ = load_learner(adapted)
    problem, (task,) = learner.model.problem, stream_of(adapted).tasks
    encoded = problem.encode(task.test).inputs.collate(np.arange(2))["pixel_values"]
    torch.testing.assert_close(encoded[:, 1], torch.full((2, 32, 32), 191 / 127.5 - 1))  # ⌊255 · 48 / 64 + ½⌋
    lower = encoded.clone()
    lower[:, 1] = -1
    with torch.no_grad():
        features = [learner.backbone.network(pixel_values=one).pooler_output for one in (encoded, lower)]
    assert not torch.allclose(*features)


def test_blocks_of_another_scaling_are_not_those_of_the_run(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    samples = generator.integers(0, 1024, (40, 8, 8)).astype(np.uint16)
    file = tmp_path / "b.npz"
    np.savez(file, blocks=samples, label=np.arange(40) % 2)
    network = NETWORK.replace("num_channels: 2", "num_channels: 1")
    values: dict[str, object] = {
        "problem": {"kind": "image_classification"},
        "stream": {"kind": "blocks", "data": {"kind": "npz", "train": str(file), "bits": 10}},
        "method": "frozen",
        "scenario": "task",
        "head": "ncm",
        "output": str(tmp_path / "runs"),
    }
    folder = run(load_config(values, ["backbone.kind=new", f"backbone.network={network}", "backbone.image={size: 32}"]))
    assert evaluate(folder).changed == 0
    np.savez(file, blocks=samples // 2, label=np.arange(40) % 2)  # scaled once more, and still of ten bits
    with pytest.raises(RunError, match="preprocessing no longer makes the same inputs"):
        evaluate(folder)


def test_stages_that_are_not_thawed_yet_stay_as_they_were(folder: Path, adapted: Path) -> None:
    phases = r"[{train: [head], epochs: 1}, {train: [head, 'stages\.1'], epochs: 1}]"
    groups = "[{part: head, learning_rate: 0.005}, {pattern: stages, layer_decay: 0.385}]"
    own = ["method=full", "bottleneck=null", f"phases={phases}", f"training.groups={groups}", "name=gradual"]
    after = load_learner(run(config_of(folder, ADAPT, *own)))[0].backbone.network.state_dict()
    pretrained = RunFolder.existing(adapted).read_config().backbone
    before = load_image_backbone(pretrained).network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert {name for name in changed if "stages.1" not in name} == set()


def test_a_stage_of_a_residual_network_learns_slower_than_the_one_above() -> None:
    names = ["embedder.weight", *(f"encoder.stages.{stage}.layers.{layer}.w" for stage in range(4) for layer in (0, 1))]
    above = blocks_above([*names, "head.weight"])
    assert [above[name] for name in names] == [4, 3, 3, 2, 2, 1, 1, 0, 0]
    assert above["head.weight"] == 0


def test_the_sweeps_have_the_rows_that_are_compared_and_the_winner_five_times() -> None:
    rows = plan_runs(load_sweep(find_sweep("sweeps/blocks")))
    assert len(rows) == 30
    assert {run.config.method for run in rows} == {"per_task", "frozen", "full"}
    assert sum(run.config.backbone.kind == "new" for run in rows) == 3
    ablation = load_sweep(find_sweep("sweeps/blocks-ablation"))
    assert ablation.search is not None
    assert ablation.search.of("per_task").total == 9
    assert len(plan_runs(ablation)) == 5
