"""Networks that read images: sizes, position embeddings, poolers, and what their own processors say."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, PreTrainedModel

from plora.adapters import Adapters, LoRA, Route, find_targets
from plora.adapters.blocks import find_blocks
from plora.adapters.prefix import Prefix
from plora.adapters.switch import checkpoint_blocks
from plora.backbones import BackboneConfig, ImageBackbone, empty_backbone, load_image_backbone, save_image_backbone
from plora.backbones.processor import read_processor, write_processor
from plora.errors import BackboneError
from plora.problems.image_classification import ImageClassification

MOBILENET = Path(__file__).parents[2] / "shared/data/weights/mobilenet_v2_imagenet"
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "patch_size": 8}
KINDS: Mapping[str, Mapping[str, object]] = {
    "vit": {"model_type": "vit"},
    "deit": {"model_type": "deit"},
    "dinov2": {"model_type": "dinov2"},
    "dinov2-swiglu": {"model_type": "dinov2", "use_swiglu_ffn": True},
    "dinov3": {"model_type": "dinov3_vit", "num_register_tokens": 2},
}
EXTRA = {"vit": 1, "deit": 2, "dinov2": 1, "dinov2-swiglu": 1, "dinov3": 3}
"""Tokens that are no patches."""
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.5],
}


def network_of(kind: str, **more: object) -> PreTrainedModel:
    """A tiny network of a kind for images of 32 × 32 pixels, in which nothing is 0 or the same for all positions."""
    settings = {**SHAPE, "image_size": 32, **KINDS[kind], **more}
    described = AutoConfig.for_model(str(settings.pop("model_type")), **settings)
    torch.manual_seed(0)
    network = AutoModel.from_config(described).eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1)
    return network


Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Saves a network with what its processor says."""

    def save(network: PreTrainedModel, **processor: object) -> Path:
        network.save_pretrained(tmp_path / "network")
        (tmp_path / "network/preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **processor}))
        return tmp_path / "network"

    return save


def loaded(folder: Path, **image: object) -> ImageBackbone:
    return load_image_backbone(BackboneConfig.model_validate({"id": str(folder), "image": image or None}))


def refused(folder: Path, **image: object) -> str:
    with pytest.raises(BackboneError) as error:
        loaded(folder, **image)
    (line,) = str(error.value).splitlines()
    return line


def pixels(height: int, width: int, number: int = 2) -> Tensor:
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(1))


def states(network: nn.Module, images: Tensor, **more: object) -> Tensor:
    with torch.no_grad():
        found: Tensor = network(pixel_values=images, **more).last_hidden_state
    return found


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [48, 16, (24, 40)])
def test_a_network_takes_any_size_of_whole_patches(folder: Folder, kind: str, size: int | tuple[int, int]) -> None:
    original = network_of(kind)
    backbone = loaded(folder(original), size=size)
    height, width = (size, size) if isinstance(size, int) else size
    assert backbone.preparation.size == (height, width)
    assert backbone.preparation.tokens == height * width // 64 + EXTRA[kind]
    flag = {"interpolate_pos_encoding": True} if kind in ("vit", "deit") else {}
    assert backbone.interpolated == bool(flag)
    images = pixels(height, width)
    expected = states(original, images, **flag)
    assert expected.shape[1] == backbone.preparation.tokens
    torch.testing.assert_close(states(backbone.network, images), expected, rtol=0, atol=0)
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


def test_an_interpolated_network_is_saved_and_loaded_as_what_it_is(folder: Folder, tmp_path: Path) -> None:
    backbone = loaded(folder(network_of("vit")), size=(24, 40))
    save_image_backbone(backbone, tmp_path / "again")
    again = loaded(tmp_path / "again")
    assert (again.preparation, again.interpolated) == (backbone.preparation, False)
    images = pixels(24, 40)
    assert torch.equal(states(again.network, images), states(backbone.network, images))
    assert torch.equal(states(AutoModel.from_pretrained(tmp_path / "again"), images), states(again.network, images))
    assert "for 24 × 40 pixels, and only those of square images" in refused(tmp_path / "again", size=32)


def test_a_size_that_cuts_patches_is_refused(folder: Folder) -> None:
    place = folder(network_of("dinov2"))
    said = "the network cuts them into patches of 8 × 8; set backbone.image.size="
    assert refused(place, size=30) == f"backbone.image.size says images of 30 × 30 pixels, and {said}24 or 32"
    assert refused(place, size=(32, 45)).endswith("backbone.image.size=[32,40] or [32,48]")
    assert refused(place, size=5).endswith("backbone.image.size=8")
    other = folder(network_of("dinov2"), size={"height": 20, "width": 20})
    assert refused(other).startswith(f"{other / 'preprocessor_config.json'} says images of 20 × 20 pixels, and ")
    config = BackboneConfig.model_validate({"id": str(other), "image": {"size": 20}})
    with pytest.raises(BackboneError, match=r"set backbone.image.size=16 or 24$"):
        empty_backbone(config)


def test_what_a_network_counts_without_weights_is_of_the_asked_size(folder: Folder) -> None:
    config = BackboneConfig.model_validate({"id": str(folder(network_of("vit"))), "image": {"size": 48}})
    positions = empty_backbone(config).get_parameter("embeddings.position_embeddings")
    assert (positions.shape, positions.device.type) == ((1, 37, 32), "meta")
    assert load_image_backbone(config).network.get_parameter("embeddings.position_embeddings").shape == (1, 37, 32)


# ---------------------------------------------------------------------- heads and poolers


def test_a_checkpoint_without_a_pooler_gets_none(folder: Folder, tmp_path: Path) -> None:
    classifier = AutoModelForImageClassification.from_config(network_of("vit").config)
    place = folder(classifier)
    backbone = loaded(place)
    assert backbone.network.pooler is None
    assert not backbone.pooled
    assert {name.split(".")[0] for name, _ in backbone.network.named_parameters()} == {
        "embeddings",
        "layernorm",
        "layers",
    }
    images = pixels(32, 32)
    with torch.no_grad():
        found = backbone.network(pixel_values=images)
        expected = classifier.vit(pixel_values=images).last_hidden_state[:, 0]
    assert torch.equal(ImageClassification(backbone.preparation).features(found, {}), expected)
    assert torch.equal(states(loaded(place).network, images), found.last_hidden_state)

    whole = network_of("vit")
    pooled = loaded(folder(whole))
    assert pooled.pooled
    assert torch.equal(pooled.network.get_parameter("pooler.dense.weight"), whole.pooler.dense.weight)

    lacking = {name: t for name, t in whole.state_dict().items() if name != "layernorm.weight"}
    whole.save_pretrained(tmp_path / "network", state_dict=lacking)
    assert "lack 1 weights of a ViTModel, such as 'layernorm.weight'" in refused(tmp_path / "network")


# ---------------------------------------------------------------------- slots


def adapted(kind: str, layers: str = "all", checkpointed: bool = False) -> tuple[nn.Module, Adapters]:
    network = network_of(kind).requires_grad_(False)
    adapters = Adapters.inject(network, "attention:qv", layers)
    if checkpointed:
        checkpoint_blocks([block for _, block in find_blocks(network)], adapters.switch)
    adapters.open_task("a", LoRA(rank=2, dropout=0))
    torch.manual_seed(1)
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network, adapters


@pytest.mark.parametrize("kind", KINDS)
def test_slots_of_the_last_blocks_start_from_what_enters_them(kind: str) -> None:
    targets = [target.path for target in find_targets(network_of(kind), "attention:qv", "last 2")]
    assert sorted(path.rpartition(".")[2] for path in targets) == ["q_proj", "q_proj", "v_proj", "v_proj"]
    assert all(f".{number}.attention." in " ".join(targets) for number in (1, 2))
    network, adapters = adapted(kind, "last 2")
    prefix, images = Prefix.of(network), {"pixel_values": pixels(32, 32)}
    assert prefix is not None
    assert len(prefix) == 1
    with torch.no_grad(), adapters.using(Route(("a",))):
        whole = network(**images).last_hidden_state
        kept = prefix.states(images)
        assert isinstance(kept, Tensor)
        assert kept.shape == (2, 16 + EXTRA[kind], 32)
        with prefix.given(kept):
            torch.testing.assert_close(network(**images).last_hidden_state, whole, rtol=0, atol=0)
        with prefix.given(torch.zeros_like(kept)):
            assert not torch.allclose(network(**images).last_hidden_state, whole, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_activations_give_the_same_gradients(kind: str) -> None:
    found = []
    for checkpointed in (False, True):
        network, adapters = adapted(kind, checkpointed=checkpointed)
        with adapters.using(Route(("a",))):
            loss = network(pixel_values=pixels(32, 32)).last_hidden_state[:, 0].square().sum()
        loss.backward()
        found.append([parameter.grad for parameter in adapters.parameters()])
    assert found[0]
    for plain, again in zip(*found, strict=True):
        assert plain is not None
        assert plain.abs().max() > 0
        torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------- processors

PROCESSORS: Mapping[str, Mapping[str, object]] = {
    "bilinear": {},
    "bicubic": {"resample": 3},
    "shorter side, crop": {
        "image_processor_type": "BitImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 37},
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
    },
    "both sides, crop": {
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 41, "width": 38},
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
    },
    "ConvNeXt, crop": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}},
    "ConvNeXt, warped": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
    "another factor": {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
}


def photographs() -> list[np.ndarray]:
    """Images of several shapes, smooth with some noise, as photographs are."""
    rng = np.random.default_rng(0)
    found = []
    for shape in ((50, 40), (31, 77), (32, 32), (64, 64), (20, 23)):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).resize(shape[::-1], 3)
        found.append((np.asarray(coarse) + rng.integers(-9, 10, (*shape, 3))).clip(0, 255).astype(np.uint8))
    return found


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_prepared_as_by_the_processor_of_transformers(tmp_path: Path, name: str) -> None:
    said = {**PROCESSOR, **PROCESSORS[name]}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(said))
    theirs = getattr(transformers, f"{said['image_processor_type']}Pil").from_pretrained(tmp_path)
    ours = read_processor(path, 3)
    write_processor(ours, tmp_path)
    assert read_processor(path, 3) == ours
    rewritten = transformers.ViTImageProcessorPil.from_pretrained(tmp_path)
    for image in photographs():
        prepared = ours.normalised(ours.resized(image)[None])
        again = ours.normalised(ours.resized(image)[None])
        assert torch.equal(prepared, again)
        level = 1 / 255 / torch.tensor(ours.std).min().item()  # Pillow computes with whole numbers, and rounds twice
        for processor in (theirs, rewritten):
            expected = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
            assert prepared.shape == expected.shape
            assert (prepared - expected).abs().max() <= 1.01 * level
            assert (prepared - expected).abs().mean() <= 0.3 * level


def test_an_older_file_is_completed_by_its_class(tmp_path: Path) -> None:
    path = tmp_path / "preprocessor_config.json"
    old = {
        "feature_extractor_type": "ViTFeatureExtractor",
        "size": 224,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    path.write_text(json.dumps(old))
    found = read_processor(path, 3)
    assert (found.size, found.before, found.resample) == ((224, 224), None, "bilinear")
    path.write_text(json.dumps({**old, "feature_extractor_type": "DeiTFeatureExtractor", "size": 256}))
    found = read_processor(path, 3)
    assert (found.size, found.before, found.resample) == ((224, 224), (256, 256), "bicubic")
    path.write_text(json.dumps({**old, "image_processor_type": "DINOv3ViTImageProcessorFast", "image_mean": 0.5}))
    assert read_processor(path, 3).mean == (0.5, 0.5, 0.5)


def test_another_size_keeps_the_share_that_is_cut_off(folder: Folder) -> None:
    cut = {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    place = folder(network_of("dinov2"), **cut)
    assert loaded(place).preparation.before == 36
    assert loaded(place, size=64).preparation.before == 72
    assert loaded(place, size=(32, 64)).preparation.before == 72
    assert loaded(place, size=64).preparation.mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"do_normalize": False}, "says do_normalize: false, and images are always resized, rescaled and normalised"),
        ({"do_rescale": False}, "says do_rescale: false"),
        ({"do_resize": False}, "says do_resize: false"),
        ({"do_flip_channel_order": True}, "asks for do_flip_channel_order, which is not supported"),
        ({"image_processor_type": "LevitImageProcessor"}, "is of a LevitImageProcessor, which resizes, crops or norm"),
        ({"resample": 1}, "says resample: 1; supported are 2 (bilinear) and 3 (bicubic)"),
        ({"size": {"shortest_edge": 32}}, 'resizes to {"shortest_edge": 32}, which does not give all images one size'),
        ({"size": {"longest_edge": 32}}, 'resizes to {"longest_edge": 32}, which does not give all images one size'),
        (
            {"size": {"shortest_edge": 16}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}},
            "cuts 32 × 32 pixels out of images that it resizes to",
        ),
        ({"image_mean": [0.5], "image_std": [0.5]}, "are normalised by 1 channels, and the network takes 3; correct "),
        ({"image_std": [0.5]}, "has an image_mean of 3 channels and an image_std of 1"),
        (
            {"size": {"height": 64, "width": 64}},
            "makes images of [64, 64] pixels, and the network takes [32, 32]; set backbone.image.size=32, or correct",
        ),
        ({"size": None, "image_mean": "x"}, "cannot be loaded: ValueError"),
    ],
)
def test_a_processor_that_does_not_fit_is_refused(folder: Folder, said: dict[str, object], line: str) -> None:
    found = refused(folder(network_of("vit"), **said))
    assert line in found
    assert "preprocessor_config.json" in found


def test_a_config_may_change_the_size_alone(folder: Folder) -> None:
    place = folder(network_of("vit"))
    same = loaded(place, size=32, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.5]).preparation
    assert same == loaded(place).preparation
    line = refused(place, size=32, mean=[0.5, 0.5, 0.5])
    assert line.startswith("backbone.image.mean=[0.5, 0.5, 0.5] contradicts ")
    assert line.endswith("which says [0.5, 0.4, 0.3]; leave it out (size alone may be another)")
    assert "backbone.image.std=[0.5] contradicts" in refused(place, size=32, std=[0.5])
    (place / "preprocessor_config.json").unlink()
    assert "it has no preprocessor_config.json; set backbone.image=" in refused(place)
    assert loaded(place, size=32).preparation.mean == (0.5, 0.5, 0.5)
    assert "are normalised by 1 channels, and the network takes 3" in refused(place, size=32, mean=[0.5], std=[0.5])


def test_a_new_network_says_its_size_once(folder: Folder) -> None:
    new = {"kind": "new", "network": {**SHAPE, "model_type": "vit", "image_size": 32}, "image": {"size": 48}}
    with pytest.raises(
        BackboneError, match=r"has positions for \[32, 32\]; set backbone.network.image_size to the sam"
    ):
        load_image_backbone(BackboneConfig.model_validate(new))


# ---------------------------------------------------------------------- a convolutional network of the world


@pytest.mark.skipif(not MOBILENET.is_dir(), reason="the pretrained MobileNetV2 is not on this machine")
def test_a_pretrained_mobilenet_is_read_as_its_processor_says() -> None:
    backbone = loaded(MOBILENET)
    prepared = backbone.preparation
    assert (prepared.size, prepared.before, prepared.tokens, backbone.width) == ((224, 224), 256, None, 1280)
    theirs = transformers.MobileNetV2ImageProcessorPil.from_pretrained(MOBILENET)
    image = photographs()[0]
    expected = theirs(Image.fromarray(image), return_tensors="pt")["pixel_values"]
    assert (prepared.normalised(prepared.resized(image)[None]) - expected).abs().max() <= 1.01 / 255 / 0.5
    with torch.no_grad():
        assert ImageClassification(prepared).features(backbone.network(pixel_values=expected), {}).shape == (1, 1280)
