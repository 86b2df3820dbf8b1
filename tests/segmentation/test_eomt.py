"""EoMT: the network of transformers, at other sizes, under annealed masks, and for other classes."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_scenes import ANSWERING, CLASSES, IMAGE, NETWORK
from torch import Tensor
from transformers import AutoConfig

from plora.adapters import Adapters, LoRA, find_targets
from plora.backbones import BackboneConfig
from plora.backbones.eomt import AutoSegmenter, Segmenter
from plora.backbones.segmenters import SegmentationBackbone, load_segmentation_backbone, save_segmentation_backbone
from plora.config import load_config
from plora.errors import AdapterError, BackboneError
from plora.optimizers.depth import blocks_above
from plora.params import count_parameters

KINDS = {
    "eomt": (NETWORK, "EomtForUniversalSegmentation"),
    "eomt_dinov3": (
        {name: value for name, value in NETWORK.items() if name != "mlp_ratio"}
        | {"model_type": "eomt_dinov3", "intermediate_size": 64},
        "EomtDinov3ForUniversalSegmentation",
    ),
}


def network_of(kind: str, **more: object) -> Segmenter:
    settings: dict[str, Any] = {**KINDS[kind][0], "id2label": dict(enumerate(CLASSES)), **more}
    torch.manual_seed(0)
    return AutoSegmenter.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)).eval()


def loaded(folder: Path, names: tuple[str, ...] = CLASSES, **more: object) -> SegmentationBackbone:
    return load_segmentation_backbone(BackboneConfig.model_validate({"id": str(folder), **more}), names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = BackboneConfig.model_validate({"kind": "new", "network": NETWORK, "image": IMAGE})
    save_segmentation_backbone(load_segmentation_backbone(config, CLASSES), tmp_path / "network")
    return tmp_path / "network"


def pixels(height: int = 32, width: int = 32) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


# ---------------------------------------------------------------------- the network


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_its_answers_are_those_of_transformers(kind: str) -> None:
    network = network_of(kind)
    theirs = getattr(transformers, KINDS[kind][1])(network.config).eval()
    theirs.load_state_dict(network.state_dict())
    theirs.attn_mask_probs.zero_()
    plain, expected = network(pixels()), theirs(pixels())
    assert (len(plain.masks), len(plain.classes)) == (1, 1)
    assert torch.equal(plain.masks[-1], expected.masks_queries_logits)
    assert torch.equal(plain.classes[-1], expected.class_queries_logits)

    theirs.attn_mask_probs.fill_(1)
    expected, masked = theirs(pixels()), network(pixels(), (1, 1), torch.rand(2, 2, 8))
    assert (len(masked.masks), len(masked.classes)) == (3, 3)
    torch.testing.assert_close(masked.masks[-1], expected.masks_queries_logits)
    torch.testing.assert_close(masked.classes[-1], expected.class_queries_logits)
    assert not torch.equal(masked.masks[-1], plain.masks[-1])


@torch.no_grad()
def test_chance_decides_for_each_query_whether_it_is_masked() -> None:
    network, chances = network_of("eomt"), torch.tensor([0.2, 0.9]).repeat(4).expand(2, 2, 8)
    none, some, every = (network(pixels(), (share, share), chances).masks for share in (0.1, 0.5, 0.95))
    assert torch.equal(none[-1], network(pixels()).masks[-1])
    first = [one[1] for one in (none, some, every)]  # after one of the blocks
    torch.testing.assert_close(first[1][:, ::2], first[2][:, ::2])
    torch.testing.assert_close(first[1][:, 1::2], first[0][:, 1::2])
    assert not torch.allclose(first[1][:, ::2], first[0][:, ::2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(48, 48), (24, 40), (40, 16)])
@torch.no_grad()
def test_it_takes_other_sizes_and_stays_so_when_it_is_saved(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    network = network_of(kind)
    network.lay_out(size)
    images = pixels(*size)
    answer = network(images).masks[-1]
    assert answer.shape == (2, 8, size[0] // 4, size[1] // 4)
    assert network.per_patch(images).shape == (2, 4, size[0] // 8, size[1] // 8)
    network.save_pretrained(tmp_path)
    again = AutoSegmenter.from_pretrained(tmp_path).eval()
    assert (again.size, again.grid_size) == (size, network.grid_size)
    assert torch.equal(again(images).masks[-1], answer)


def test_what_answers_is_above_all_blocks_of_the_encoder() -> None:
    above = blocks_above([name for name, _ in network_of("eomt", num_upscale_blocks=2).named_parameters()])
    depths = {name.removesuffix(".weight"): depth for name, depth in above.items()}
    assert [depths[f"layers.{number}.norm1"] for number in range(3)] == [2, 1, 0]
    assert {depths[name] for name in ("query", "layernorm", "class_predictor", "mask_head.fc1")} == {0}
    assert depths["embeddings.position_embeddings"] > 2


def test_positions_between_those_of_the_grid_are_interpolated() -> None:
    network = network_of("eomt")
    with torch.no_grad():
        ramp = torch.arange(4.0).repeat(4)[:, None].expand(16, 32)  # rises from left to right
        network.embeddings.position_embeddings.weight.copy_(ramp)
    network.lay_out((32, 64))
    found = network.embeddings.position_embeddings.weight.reshape(4, 8, 32)
    assert torch.allclose(found, found[:1, :, :1].expand_as(found), atol=1e-6)
    assert (found[0, 1:, 0] > found[0, :-1, 0]).all()
    assert found[0, 3:5, 0].tolist() == pytest.approx([1.25, 1.75], abs=0.05)


# ---------------------------------------------------------------------- loading


def test_rows_of_classes_are_taken_by_name(folder: Path) -> None:
    whole = loaded(folder).network.class_predictor
    with pytest.warns(UserWarning, match=r"of its 3 classes 2 are taken by name \(stripe, ground\); 1 are new \(sky\)"):
        other = loaded(folder, ("stripe", "sky", "ground"))
    rows = other.network.class_predictor
    for own, theirs in ((0, 2), (2, 0), (3, 3)):  # the last is that of no object
        assert torch.equal(rows.weight[own], whole.weight[theirs])
        assert rows.bias[own] == whole.bias[theirs]
    assert not any(torch.equal(rows.weight[1], row) for row in whole.weight)
    assert other.network.config.id2label == {0: "stripe", 1: "sky", 2: "ground"}
    assert other.fingerprint != loaded(folder).fingerprint
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        again = loaded(folder, ("stripe", "sky", "ground"))
        seeded = loaded(folder, ("stripe", "sky", "ground"), seed=1)
    assert torch.equal(again.network.class_predictor.weight, rows.weight)
    assert not torch.equal(seeded.network.class_predictor.weight[1], rows.weight[1])


def test_classes_without_names_are_taken_only_where_they_are_as_many(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings["id2label"] = {row: f"LABEL_{row}" for row in range(3)}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(BackboneError) as error:
        loaded(folder, (*CLASSES, "sky"))
    assert "has 3 classes without names, and the stream has 4: ground, square, stripe, sky" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.warns(UserWarning, match="they are taken in order"):
        named = loaded(folder)
    assert named.network.config.id2label == dict(enumerate(CLASSES))


def test_pixels_are_normalised_as_its_own_processor_says(folder: Path) -> None:
    said = {
        "image_processor_type": "EomtImageProcessorFast",
        "do_split_image": True,
        "size": {"shortest_edge": 640, "longest_edge": None},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
        "rescale_factor": 1 / 127.5,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    prepared = loaded(folder, image={"size": [16, 40]}).preparation
    assert (prepared.size, prepared.before) == ((16, 40), None)
    assert prepared.mean == pytest.approx((0.05, 0.1, 0.15))
    assert prepared.std == pytest.approx((0.2, 0.25, 0.3))
    assert prepared.tokens == 2 * 5 + 2 + 8
    assert loaded(folder).preparation.size == (32, 32)
    with pytest.raises(BackboneError, match=r"set backbone.image.size=16 or 24$"):
        loaded(folder, image={"size": 20})
    (folder / "preprocessor_config.json").write_text(json.dumps(said | {"do_normalize": False}))
    with pytest.raises(BackboneError, match="do_normalize"):
        loaded(folder)


def test_weights_of_the_authors_layout_are_refused_with_what_to_do(folder: Path) -> None:
    weights = folder / "model.safetensors"
    save_file({f"network.encoder.backbone.{name}": one for name, one in load_file(weights).items()}, weights)
    with pytest.raises(BackboneError, match=r"differences to Meta's weights.*convert_eomt_dinov3_to_hf\.py") as error:
        loaded(folder)
    assert "\n" not in str(error.value)


def test_another_kind_of_network_is_refused() -> None:
    vit = BackboneConfig.model_validate({"kind": "new", "network": {"model_type": "vit"}, "image": IMAGE})
    with pytest.raises(
        BackboneError, match="model_type 'vit' does not answer with masks; expected eomt or eomt_dinov3"
    ):
        load_segmentation_backbone(vit, CLASSES)
    more = BackboneConfig.model_validate({"kind": "new", "network": NETWORK | {"num_labels": 5}, "image": IMAGE})
    with pytest.raises(BackboneError, match=r'says {"num_labels": 5}, and the classes are the 3 of the stream'):
        load_segmentation_backbone(more, CLASSES)


def test_transformers_loads_what_is_saved_as_what_it_is_after_training(folder: Path) -> None:
    theirs = transformers.EomtForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.no_grad():
        found, expected = theirs(pixels()).masks_queries_logits, loaded(folder).network(pixels()).masks[-1]
    assert torch.equal(found, expected)


# ---------------------------------------------------------------------- adapters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["attention:qv", "attention", "mlp", "all_linear", ["fc1", "down_proj", "q_proj"]])
@pytest.mark.filterwarnings("ignore:targets .* are left out")
def test_only_the_blocks_of_the_encoder_are_adapted(kind: str, targets: str | list[str]) -> None:
    network = network_of(kind)
    found = [target.path for target in find_targets(network, targets)]
    assert found
    assert all(path.startswith("layers.") for path in found)
    if targets == "attention:qv":
        assert {path.rpartition(".")[2] for path in found} == {"q_proj", "v_proj"}
        assert len(found) == 6
    if targets == "all_linear":
        assert len(found) == 3 * 6


def test_names_of_other_implementations_are_left_out_or_refused_with_the_candidates() -> None:
    with pytest.warns(UserWarning, match=r"\['qkv', 'proj'\] match no linear layer .* and are left out \(6 layers"):
        found = find_targets(network_of("eomt"), ["qkv", "proj", "q_proj", "v_proj"])
    assert {target.path.rpartition(".")[2] for target in found} == {"q_proj", "v_proj"}
    for targets in (["W_q", "W_v"], ["fc3"], ["class_predictor"], "all_conv"):
        with pytest.raises(AdapterError) as error:
            find_targets(network_of("eomt"), targets)
        assert "\n" not in str(error.value)
    with pytest.raises(AdapterError, match=r"layers that can be adapted: layers\.N\.attention\.k_proj"):
        find_targets(network_of("eomt"), ["W_q", "W_v"])


@torch.no_grad()
def test_a_slot_that_has_learned_nothing_changes_no_bit() -> None:
    network = network_of("eomt")
    before = network(pixels(), (0.5, 0.5), torch.rand(2, 2, 8, generator=torch.Generator().manual_seed(0)))
    adapters = Adapters.inject(network, "all_linear", "all", None, ANSWERING)
    adapters.open_task("one", LoRA(rank=4))
    after = network(pixels(), (0.5, 0.5), torch.rand(2, 2, 8, generator=torch.Generator().manual_seed(0)))
    for found, expected in zip((*after.masks, *after.classes), (*before.masks, *before.classes), strict=True):
        assert torch.equal(found, expected)


def test_parameters_of_the_large_network_are_counted_without_making_it() -> None:
    """EoMT-L with two classes, the mission's r = 16 on queries and values: 24 · 2 · 16 · (1024 + 1024)."""
    config = {
        "problem": {"kind": "semantic_segmentation"},
        "stream": {"kind": "docstring_topics"},
        "scenario": "domain",
        "backbone": {"kind": "new", "network": {"model_type": "eomt"}},
        "method": "sequential",
        "lora": {"rank": 16, "alpha": 32, "targets": "attention:qv"},
    }
    counted = count_parameters(load_config(config))
    assert counted.frozen == 316_561_411
    assert counted.trainable == 24 * 2 * 16 * 2048
    assert "0.49% of 318,134,275 parameters train in a task; a run gives what answers a row" in counted.describe()
    whole = count_parameters(load_config({**config, "modules": [*ANSWERING]}))
    trained = {group.path.partition(".")[0] for group in whole.groups if group.trainable}
    assert trained == {"layers", *ANSWERING}
