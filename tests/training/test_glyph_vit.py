"""The vision transformer that plora ships: the published file, small, of use for characters that it never saw."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import quiet
from shipped import altered

from plora.backbones import GLYPH_VIT, BackboneConfig, find_backbone, load_image_backbone, save_image_backbone
from plora.config import load_config
from plora.configs import find_config
from plora.errors import BackboneError
from plora.results import read_record
from plora.runs import run
from plora.streams import Glyphs

SHIPPED = BackboneConfig(id=GLYPH_VIT)


def test_it_is_small_and_says_how_it_was_made() -> None:
    folder = find_backbone(SHIPPED)
    assert (folder / "model.safetensors").stat().st_size < 4e6
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = load_config(find_config("image_classification/glyphs_pretrain")).backbone.network
    assert wanted is not None
    assert {name: settings[name] for name in wanted} == wanted
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "plora pretrain image_classification/glyphs_pretrain" in card


def test_another_file_in_its_place_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    backbone = load_image_backbone(SHIPPED)
    assert {parameter.dtype for parameter in backbone.network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    copy = altered(SHIPPED, tmp_path)
    monkeypatch.setattr("plora.backbones.loading.find_backbone", lambda _: copy)
    with pytest.raises(BackboneError, match=r"^[^\n]* is not the file that plora ships[^\n]*; reinstall plora$"):
        load_image_backbone(SHIPPED)


def test_means_of_its_features_know_characters_that_it_never_saw() -> None:
    network = load_image_backbone(SHIPPED).network
    task, _ = Glyphs(init_cls=40, increment=60, train_per_class=10, test_per_class=5).load().tasks

    def features(images: object) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack(images.read(np.arange(len(images))))).float()[:, None] / 127.5 - 1
        with torch.no_grad():
            return torch.nn.functional.normalize(network(pixel_values=pixels).pooler_output)

    means = torch.nn.functional.normalize(features(task.train).unflatten(0, (40, 10)).mean(1))
    found = (features(task.test) @ means.T).argmax(1)
    assert (found.numpy() == task.test.labels).mean() > 0.3  # by chance 0.025


def test_a_network_is_trained_in_fp32_and_stored_as_it_says(tmp_path: Path) -> None:
    network = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    network |= {"intermediate_size": 8, "image_size": 8, "patch_size": 4, "num_channels": 1, "dtype": "bfloat16"}
    config = BackboneConfig.model_validate({"kind": "new", "network": network, "image": {"size": 8}})
    new = load_image_backbone(config)
    assert {parameter.dtype for parameter in new.network.parameters()} == {torch.float32}
    save_image_backbone(new, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["dtype"] == "bfloat16"
    stored = load_image_backbone(BackboneConfig(id=str(tmp_path))).network.state_dict()
    for name, tensor in new.network.state_dict().items():
        assert torch.equal(stored[name], tensor.bfloat16().float())
        assert tensor.dtype == torch.float32  # what is saved goes on as it was
    plain = load_image_backbone(config.model_copy(update={"network": {**network, "dtype": None}}))
    assert all(
        torch.equal(one, two) for one, two in zip(plain.network.parameters(), new.network.parameters(), strict=True)
    )


def test_the_shipped_config_runs_offline(tmp_path: Path) -> None:
    small = ["stream.train_per_class=5", "stream.test_per_class=2", "stream.validation_per_class=2"]
    small += ["stream.init_cls=90", "stream.increment=10"]
    folder = run(load_config(find_config("image_classification/glyphs"), [*small, f"output={tmp_path}"]), quiet())
    record = read_record(folder)
    assert len(record.tasks) == 2
    assert record.metrics["accuracy"].value > 0.15  # by chance 0.01
