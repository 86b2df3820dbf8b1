"""Settings of EoMT with LoRA in Lightning, each with its new home."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.config.peer_eomt import is_eomt, translate_eomt
from plora.configs import find_config
from plora.errors import ConfigError

THEIRS = """\
model:
  _target_: eomt.training.mask_classification_semantic.MaskClassificationSemantic
  img_size: [640, 640]
  num_classes: 19
  lr: 1e-4
  use_lora: true
  lora_rank: 8
  lora_alpha: 16
  lora_dropout: 0.1
  target_modules: [qkv, proj, q_proj, v_proj]
  deep: 3
epochs: 50
batch_size: 4
"""


def test_every_key_is_named_with_its_home_and_the_whole_is_a_config(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text(THEIRS, encoding="utf-8")
    found = CliRunner().invoke(app, ["validate", str(tmp_path / "theirs.yaml")])
    assert found.exit_code == 2
    for line in (
        "lora_rank: 8 → lora.rank: 8",
        "use_lora: true → lora: its section",
        "img_size: [640, 640] → backbone.image.size: 640",
        "target_modules: [qkv, proj, q_proj, v_proj] → lora.targets: attention",
        "num_classes: 19 → nothing: the classes are those of the stream",
        "deep: no key of plora is known for it; left out",
    ):
        assert line in found.stderr
    config = load_config(yaml.safe_load(found.stdout))
    assert config.lora is not None
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 16, 0.1)
    assert (config.training.epochs, config.training.batch_size, config.training.learning_rate) == (50, 4, 1e-4)
    with pytest.raises(ConfigError, match="is one of EoMT with LoRA in Lightning"):
        load_config(tmp_path / "theirs.yaml")


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (["q_proj", "v_proj"], "attention:qv"),
        (["qkv"], "attention:qkv"),
        (["W_q", "W_v", "W_proj"], ["W_q", "W_v", "W_proj"]),
    ],
)
def test_layers_of_attention_are_found_by_structure_and_others_by_name(names: list[str], targets: object) -> None:
    assert translate_eomt({"lora_rank": 4, "target_modules": names}).config["lora"]["targets"] == targets  # type: ignore[index, call-overload]


def test_without_lora_all_of_the_network_trains() -> None:
    found = translate_eomt({"use_lora": False, "lora_rank": 16, "epochs": 5})
    assert "lora_rank: 16 → nothing: use_lora is false" in found.lines
    config = load_config(found.config)
    assert (config.method, config.modules) == ("full", ())


def test_what_is_ours_is_no_peer() -> None:
    for name in ("cityscapes", "scenes"):
        assert not is_eomt(yaml.safe_load(find_config(f"segmentation/{name}").read_text(encoding="utf-8")))
