"""Runs about images that leave plora: files of images get the labels and probabilities of the run, without plora."""

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from test_export import without_plora
from transformers import AutoModel, AutoModelForImageClassification

from plora.adapters import Adapters, Route, apply_lora, save_route
from plora.backbones import BackboneConfig, load_image_backbone, made_by, save_image_backbone
from plora.config import RunConfig, load_config
from plora.errors import AdapterError, RunError
from plora.export import export
from plora.problems.image_classification import ImageClassification, Preparation
from plora.runs import predict, run
from plora.runs.loading import load_learner
from plora.streams.image_reading import ImageReading

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

RESNET = {
    "model_type": "resnet",
    "num_channels": 3,
    "embedding_size": 8,
    "hidden_sizes": [8, 16],
    "depths": [1, 1],
    "layer_type": "basic",
}
VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 12,
    "patch_size": 4,
}
PREPARED = {"size": 12, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.5]}
CONV = ("lora.targets=all_conv", "lora.rank=2")
MODULES = ("lora=null", "modules=[normalization]")
Config = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network and a vision transformer with random weights, as `transformers` folders."""
    place = tmp_path_factory.mktemp("networks")
    for settings in (RESNET, VIT):
        config = BackboneConfig.model_validate({"kind": "new", "network": settings, "image": PREPARED})
        save_image_backbone(load_image_backbone(config), place / settings["model_type"])
    return place


@pytest.fixture
def config(networks: Path, tmp_path: Path) -> Config:
    values = {
        "name": "images",
        "problem": {"kind": "image_classification"},
        "stream": {"kind": "digits", "held_back": 0.9, "per_task": 5, "validation_fraction": 0.2},
        "output": str(tmp_path / "runs"),
        "backbone": {"id": str(networks / "resnet")},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.02},
    }
    return lambda *overrides: load_config(values, overrides)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of every kind that is read in a way of its own."""
    place, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (30, 20, 3)).astype(np.uint8))
    grey = Image.fromarray(rng.integers(0, 256, (8, 9)).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(place / "colour.png")
    colour.save(place / "turned.jpg", exif=turned)
    colour.resize((12, 12)).save(place / "fits.png")
    colour.convert("P", palette=Image.Palette.ADAPTIVE).save(place / "palette.png")
    Image.fromarray(rng.integers(0, 256, (9, 11, 4)).astype(np.uint8)).save(place / "alpha.png")
    Image.fromarray(rng.integers(0, 65536, (9, 11)).astype(np.uint16)).save(place / "wide.png", transparency=7)
    grey.save(place / "grey.png")
    grey.convert("1").save(place / "bits.png")
    return sorted(place.iterdir())


def same_as_predict(folder: Path, source: Path, pictures: list[Path], head: str, task: str | None) -> None:
    """The exported script, run in this process, gives the labels and probabilities of `predict`."""
    theirs = runpy.run_path(str(folder / "inference.py"))["predict"](pictures, head)
    for file, labels, ours in zip(pictures, theirs, predict(source, pictures, task, top=99), strict=True):
        expected = dict(zip(ours.labels, ours.probabilities, strict=True))
        assert labels == pytest.approx(expected, abs=1e-5), file
        assert len(expected) > 1


CASES = [
    # scenario, method, merged, other settings
    ("class", "sequential", False, CONV),
    ("class", "o_lora", True, CONV),
    ("task", "per_task", False, MODULES),
    ("class", "frozen", True, ("head=ridge",)),
    ("class", "frozen", True, ("head=ncm",)),
    ("task", "frozen", True, ("head=ranpac",)),
    ("class", "full", True, ()),
    ("class", "o_lora", False, ("backbone.id=VIT", "lora.targets=attention")),
]


@pytest.mark.parametrize(("scenario", "method", "merged", "settings"), CASES)
def test_labels_and_probabilities_are_those_of_predict(
    config: Config,
    networks: Path,
    pictures: list[Path],
    tmp_path: Path,
    scenario: str,
    method: str,
    merged: bool,
    settings: tuple[str, ...],
) -> None:
    own = [setting.replace("VIT", str(networks / "vit")) for setting in settings]
    source = run(config(f"scenario={scenario}", f"method={method}", *own))
    folder = export(source, tmp_path / "out", merged=merged)
    heads = json.loads((folder / "heads.json").read_text())["heads"]
    assert list(heads) == (["zero-four", "five-nine"] if scenario == "task" else ["all"])
    for head in heads:
        same_as_predict(folder, source, pictures, head, head if scenario == "task" else None)


def test_files_are_read_as_the_stream_of_the_run_says(config: Config, pictures: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / "two" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (6, 6, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "two" / name / f"{number}.png")
    reading = {"ground": [0, 90, 200], "highest": 20000, "colours": "grey"}
    stream = {"kind": "images", "data": {"kind": "folder", "root": str(tmp_path / "two")}, "reading": reading}
    source = run(config("scenario=class", "method=frozen", "head=ridge", f"stream={json.dumps(stream)}"))
    folder = export(source, tmp_path / "out", merged=True)
    assert json.loads((folder / "heads.json").read_text())["reading"] == reading
    same_as_predict(folder, source, pictures, "all", None)
    loaded = load_learner(source)[0].model.problem.given(pictures).read(np.arange(len(pictures)))
    expected = ImageReading.model_validate(reading)
    for image, path in zip(loaded, pictures, strict=True):
        np.testing.assert_array_equal(image, expected.pixels(path, str(path)))


def test_a_new_network_is_exported_whole(config: Config, pictures: list[Path], tmp_path: Path) -> None:
    backbone = json.dumps({"kind": "new", "network": RESNET, "image": PREPARED})
    source = run(config("method=per_task", "scenario=task", f"backbone={backbone}", *CONV))
    with pytest.raises(RunError, match=r"a new network, which is nowhere but in this run; add --merged"):
        export(source, tmp_path / "adapters")
    folder = export(source, tmp_path / "out", task="five-nine", merged=True)
    assert AutoModel.from_pretrained(folder).config.model_type == "resnet"
    said = json.loads((folder / "preprocessor_config.json").read_text())
    assert (said["size"], said["image_mean"]) == ({"height": 12, "width": 12}, PREPARED["mean"])
    same_as_predict(folder, source, pictures, "five-nine", "five-nine")

    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: image-classification\n")
    assert "An image classifier on `new resnet`" in card
    assert "base_model:" not in card
    assert "- Images are resized to 12 × 12 pixels, whatever their shape, and have 3 channels" in card
    assert "python inference.py one.png another.jpg" in card
    assert "pip install torch transformers pillow" in card
    assert "text" not in card


@pytest.mark.parametrize("merged", [False, True])
def test_a_vision_transformer_of_another_size_without_a_pooler(
    config: Config, networks: Path, pictures: list[Path], tmp_path: Path, merged: bool
) -> None:
    """Its images are cut, their centre is taken, its positions are interpolated, and its first state is the feature."""
    vit = shutil.copytree(networks / "vit", tmp_path / "vit")
    AutoModelForImageClassification.from_pretrained(vit).save_pretrained(vit)
    prepared = json.loads((vit / "preprocessor_config.json").read_text())
    cut = {"size": {"shortest_edge": 14}, "do_center_crop": True, "crop_size": {"height": 12, "width": 12}}
    (vit / "preprocessor_config.json").write_text(json.dumps({**prepared, **cut, "resample": 3}))
    place = ("lora.targets=attention:qv", "scenario=class", "method=sequential")
    source = run(config(f"backbone.id={vit}", "backbone.image.size=[8,20]", *place))
    folder = export(source, tmp_path / "out", merged=merged)
    said = json.loads((folder / "heads.json").read_text())
    assert (said["pooled"], said["interpolated"]) == (False, True)
    if merged:
        assert AutoModel.from_pretrained(folder).config.image_size == [8, 20]
    same_as_predict(folder, source, pictures, "all", None)
    assert "- Images are resized to 8 × 20 pixels, what is beside their centre cut off, " in (
        (folder / "README.md").read_text()
    )


def test_what_pretrain_made_is_a_folder_of_this_machine(
    config: Config, networks: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    made = made_by("mine").parent / "0123"
    shutil.copytree(networks / "resnet", made)
    made_by("mine").write_text(json.dumps({"folder": "0123"}))
    source = run(config("scenario=class", "method=sequential", "backbone.id=pretrained:mine", *CONV))
    with pytest.raises(RunError, match=r"belong to pretrained:mine, a folder of this machine, .*add --merged"):
        export(source, tmp_path / "out", push="someone/some-model")
    adapters, merged = export(source, tmp_path / "out"), export(source, tmp_path / "merged", merged=True)
    for folder, said in ((adapters, str(made)), (merged, "pretrained:mine")):
        assert json.loads((folder / "heads.json").read_text())["backbone"] == said
        assert "base_model:" not in (folder / "README.md").read_text()  # no name on the hub
        same_as_predict(folder, source, pictures, "all", None)


@pytest.mark.slow  # processes that import torch, transformers and PEFT
@pytest.mark.parametrize("merged", [True, False])
def test_the_script_runs_where_there_is_no_plora(
    config: Config, pictures: list[Path], tmp_path: Path, merged: bool
) -> None:
    source = run(config("method=per_task", "scenario=task", *CONV))
    folder = export(source, tmp_path / "out", task="five-nine", merged=merged)
    answers = without_plora(folder, *map(str, pictures), cwd=tmp_path)
    assert [answer["file"] for answer in answers] == [str(file) for file in pictures]
    for answer, ours in zip(answers, predict(source, pictures, "five-nine", top=99), strict=True):
        expected = dict(zip(ours.labels, ours.probabilities, strict=True))
        assert answer["labels"] == pytest.approx(expected, abs=1e-5)


def test_bottlenecks_stay_in_plora(config: Config, tmp_path: Path) -> None:
    source = run(config("scenario=class", "method=sequential", "lora=null", "bottleneck={width: 4, after: stage}"))
    with pytest.raises(AdapterError, match=r"this is no adapter for PEFT: bottleneck .*PEFT has no residual adapters"):
        export(source, tmp_path / "out")
    with pytest.raises(AdapterError, match=r"cannot be merged: bottleneck .*no weight of the network can take it in"):
        export(source, tmp_path / "out", merged=True)
    assert not (tmp_path / "out").exists()


def test_a_dilated_convolution_is_no_adapter_for_peft(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=2, dilation=2))
    adapters = Adapters.of(apply_lora(network, rank=2, targets=["0"]))
    with pytest.raises(
        AdapterError, match=r"leaves out the dilation \(2, 2\) of convolution '0', and would give other"
    ):
        save_route(adapters, Route(("default",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_of_nothing_are_refused(config: Config, tmp_path: Path) -> None:
    source = run(config("scenario=class", "method=frozen", "head=ncm"))
    with pytest.raises(RunError, match="method 'frozen' has no slots to write as adapters; add --merged"):
        export(source, tmp_path / "out")
    folder = export(source, tmp_path / "out", merged=True)
    heads = json.loads((folder / "heads.json").read_text())
    (folder / "heads.json").write_text(json.dumps({**heads, "pooled": False}))
    script = runpy.run_path(str(folder / "inference.py"))

    grey = Preparation((12, 12), (0.5,), (0.5,))  # of another network: the folder says what the script does
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 12, "width": 12}, "image_mean": [0.5], "image_std": [0.5]})
    )
    colour = tmp_path / "colour.png"
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(colour)
    with pytest.raises(ValueError, match=r"colour.png has 3 channels, and the network takes 1"):
        runpy.run_path(str(folder / "inference.py"))["predict"]([colour])

    for states in (torch.randn(1, 5, 3, 4), torch.randn(1, 6, 5)):  # networks that pool nothing themselves
        found = SimpleNamespace(last_hidden_state=states)
        ours = ImageClassification(grey).features(found, {})
        assert torch.equal(script["features"](lambda found=found, **_: found, [colour]), ours)
