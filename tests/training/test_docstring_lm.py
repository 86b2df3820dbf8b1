"""The language model that plora ships: the file that was made, small, and of use for documents that it never saw."""

import json
from pathlib import Path

import pytest
from killing import quiet
from shipped import altered

from plora.backbones import DOCSTRING_LM, BackboneConfig, find_backbone, load_backbone
from plora.config import load_config
from plora.configs import find_config
from plora.errors import BackboneError
from plora.results import read_record
from plora.runs import run

SHIPPED = BackboneConfig(id=DOCSTRING_LM)


def test_it_is_small_and_says_how_it_was_made() -> None:
    folder = find_backbone(SHIPPED)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4e6
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = load_config(find_config("causal_lm/docstring_lm")).backbone.network
    assert wanted is not None
    assert {name: settings[name] for name in wanted} == wanted
    assert "plora pretrain causal_lm/docstring_lm" in (folder / "README.md").read_text(encoding="utf-8")


def test_another_file_in_its_place_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = altered(SHIPPED, tmp_path)
    monkeypatch.setattr("plora.backbones.loading.find_backbone", lambda _: copy)
    with pytest.raises(BackboneError, match=r"^[^\n]* is not the file that plora ships[^\n]*; reinstall plora$"):
        load_backbone(SHIPPED, writes=True)


def test_a_slot_makes_a_library_likelier_that_it_never_saw(tmp_path: Path) -> None:
    small = ("stream.domains=[sklearn]", "stream.train_bytes=30000", "stream.test_bytes=8000", "training.epochs=1")
    config = load_config(find_config("quickstart/documents-sequential"), [*small, f"output={tmp_path}"])
    before, after = read_record(run(config, quiet())).matrix[:, 0]
    assert after < before < 2.5  # nats per byte; one of 256 bytes at random costs 5.5
