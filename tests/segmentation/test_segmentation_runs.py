"""Two tiny tasks of segmentation, learned, scored, verified, killed and resumed through the one loop."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import KILLED, in_child, quiet
from PIL import Image
from tiny_scenes import ANSWERING, CLASSES, NETWORK, VALUES

from plora.backbones import BackboneConfig
from plora.backbones.segmenters import load_segmentation_backbone
from plora.build import Workspace, build
from plora.config import RunConfig, load_config
from plora.dry_run import dry_run
from plora.errors import ConfigError, DataError
from plora.results import PixelCounts, read_curves, read_record
from plora.results.record.manifest import read_checkpoint
from plora.results.record.sheet import sheet_files
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, segment, verify
from plora.runs.pretraining import pretrain
from plora.streams.labelled_images import IGNORED

Make = Callable[..., RunConfig]


PLAIN = ("lora.dropout=0", "stream.tasks=1", "stream.number=8", "training.log_every=1")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    return lambda name, *settings: load_config(VALUES, [f"output={tmp_path / name}", *settings])


def learned(config: RunConfig) -> Path:
    return run(config, quiet(), Workspace())


def same(path: Path) -> dict[str, object]:
    """All of a run folder that the same seed gives again."""
    folder, found = RunFolder(path), {"results": (path / "results.json").read_bytes()}
    for number in folder.complete():
        manifest = read_checkpoint(folder.path, number)
        found[f"weights {number}"] = manifest.slots, manifest.parts, manifest.strategies
    for file in sorted(path.glob("predictions/*.parquet")):
        counts = PixelCounts.read(file)
        found[file.name] = counts.task.tolist(), counts.pairs.tolist(), counts.counts.tolist(), counts.class_names
    found["sheets"] = [file.read_bytes() for file in sheet_files(path)]
    found["curves"] = [(p.step, p.loss, p.terms) for p in read_curves(path / "curves.jsonl")]
    return found


METHODS = {
    "lora": (),
    "own slots": ("method=per_task", "scenario=task", "problem.windows=true", "stream.height=48"),
    "everything": ("method=full", "problem.answer=patches"),
}
"""The same config but for what is set."""


@pytest.mark.parametrize(
    "name", ["lora", *(pytest.param(name, marks=pytest.mark.slow) for name in METHODS if name != "lora")]
)
def test_it_learns_and_verify_and_evaluate_agree(make: Make, name: str) -> None:
    config = make("run", *METHODS[name], "training.epochs=10")
    path = learned(config)
    record = read_record(path)
    assert record.score.name == "mean_iou"
    assert record.matrix[2, 1] > record.matrix[0, 1] + 0.02
    if name == "own slots":
        assert record.matrix[2, 0] == record.matrix[1, 0]
    assert not verify(path).problems
    assert evaluate(path).changed == 0
    terms = {"cross_entropy"} if name == "everything" else {"class", "mask", "dice"}
    assert {term for point in read_curves(path / "curves.jsonl") for term in point.terms} == terms
    counts = PixelCounts.read(path / "predictions/task-02.parquet")
    assert counts.class_names == CLASSES
    if name == "lora":
        stored = sum(file.stat().st_size for file in path.rglob("*.safetensors"))
        trained = sum(number for _, number in _trained(make("again", *METHODS[name])))
        assert stored < 1.2 * 4 * trained * 2  # of the one slot after each task; nothing of the frozen encoder
        new_images(path, config)


def new_images(path: Path, config: RunConfig) -> None:
    """The classes of images that are given, as pixels and as files, are those that the record has counted."""
    split = config.stream.load().tasks[1].test
    shown = split.read(np.arange(3))
    found = [one.classes for one in segment(path, [one.image for one in shown])]  # type: ignore[attr-defined]
    counted = np.zeros((3, 3), np.int64)
    for one, classes in zip(shown, found, strict=True):
        valid = one.classes != IGNORED  # type: ignore[attr-defined]
        np.add.at(counted, (one.classes[valid], classes[valid]), 1)  # type: ignore[attr-defined]
    record = PixelCounts.read(path / "predictions/task-02.parquet")
    own = record.rows((record.task == "light-1") & (record.example < 3))
    assert np.array_equal(own.confusion(), counted)
    files = [path.parent / f"{number}.png" for number in range(3)]
    for file, one in zip(files, shown, strict=True):
        Image.fromarray(one.image).save(file)  # type: ignore[attr-defined]
    assert all(np.array_equal(one.classes, before) for one, before in zip(segment(path, files), found, strict=True))
    with pytest.raises(DataError, match="does not exist, or is no file"):
        next(segment(path, [path / "absent.png"]))


KILLED_RUN = ("training.checkpoint_seconds=0", "training.micro_batch_size=3", "stream.number=8", "training.epochs=1")


@pytest.mark.parametrize(
    ("point", "windows"), [("step:3", False), pytest.param("micro_batch", True, marks=pytest.mark.slow)]
)
def test_a_kill_changes_no_bit(make: Make, windows: bool, point: str) -> None:
    settings = (*KILLED_RUN, f"problem.windows={str(windows).lower()}", f"stream.height={40 if windows else 32}")
    whole = learned(make("whole", *settings))
    config = make("cut", *settings)
    assert in_child(lambda: run(config, quiet(), Workspace()), point) == KILLED
    again = (lambda: resume(config.folder, quiet())) if (config.folder / "config.yaml").exists() else None
    assert in_child(again or (lambda: run(config, quiet(), Workspace()))) == 0
    assert same(config.folder) == same(whole)


def test_micro_batches_change_memory_alone(make: Make) -> None:
    """Points and masked queries are each image's own, so that only rounding is left of how a step was cut."""
    losses = [
        [
            point.loss
            for point in read_curves(
                learned(make(f"of-{micro}", f"training.micro_batch_size={micro}", *PLAIN)) / "curves.jsonl"
            )
        ]
        for micro in (1, 4)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_the_same_config_trains_what_its_method_says(make: Make) -> None:
    lora, parts, full = (
        {name for name, _ in _trained(make(name, *settings))}
        for name, settings in (("lora", ()), ("parts", ("lora=null",)), ("full", ("method=full",)))
    )
    assert {name.partition(".")[0] for name in lora} == {"layers", *ANSWERING}
    assert {name.partition(".")[0] for name in parts} == set(ANSWERING)
    assert {"embeddings", "layernorm", "layers", *ANSWERING} == {name.partition(".")[0] for name in full}
    with pytest.raises(ConfigError, match="modules"):
        make("frozen", "method=frozen")


def _trained(config: RunConfig) -> list[tuple[str, int]]:
    model = build(config).model
    if model.adapters is not None:
        model.adapters.open_task("task", config.lora)
    return [(name.removeprefix("backbone."), p.numel()) for name, p in model.trainable().items()]


def test_a_workspace_gives_each_stream_a_network_for_its_classes(make: Make) -> None:
    workspace = Workspace()
    first, same_stream, other = (
        workspace.backbone(make("run", *settings)) for settings in ((), (), ("stream.number=8",))
    )
    assert first.network.query.weight is same_stream.network.query.weight
    assert first.network.query.weight is not other.network.query.weight


def test_a_run_is_estimated_before_it_is_started(make: Make) -> None:
    found = dry_run(make("run"), steps=1)
    assert (found.tasks, found.steps) == (2, 16)
    assert found.trainable > 0


def test_patches_are_learned_first_and_queries_after_them(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `plora pretrain` keeps of an encoder whose patches answer is where one whose queries answer begins."""
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    config = make(
        "patches",
        "method=full",
        "problem.answer=patches",
        "training.epochs=1",
        "stream.tasks=1",
        "backbone.network.dtype=bfloat16",
    )
    folder = pretrain(config, "tiny", quiet())
    loaded = load_segmentation_backbone(BackboneConfig(id=str(folder)), CLASSES)
    assert loaded.network.config.id2label == dict(enumerate(CLASSES))
    fresh = load_segmentation_backbone(config.backbone, CLASSES)
    assert not torch.equal(loaded.network.class_predictor.weight, fresh.network.class_predictor.weight)
    assert loaded.network.config.num_queries == NETWORK["num_queries"]
    begun = ("backbone={id: 'pretrained:tiny'}", "training.epochs=1")
    assert not verify(learned(make("queries", *begun))).problems
    second = pretrain(make("second", *begun, "method=full", "stream.tasks=1"), "second", quiet())
    assert second != folder
    for made in (folder, second):  # stored as what it began with
        stored = load_file(made / "model.safetensors").values()
        assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.bfloat16}
    assert pretrain(make("second", *begun, "method=full", "stream.tasks=1"), "second", quiet()) == second
    with pytest.raises(ConfigError, match="'tiny' cannot begin with what it makes"):
        pretrain(make("itself", *begun, "method=full"), "tiny", quiet())
