"""The mask transformer that plora ships: the file that was made, small, and of use for scenes that it never saw."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))

from shipped import altered

from plora.backbones import SCENE_EOMT, BackboneConfig, find_backbone
from plora.backbones.segmenters import load_segmentation_backbone
from plora.batches.class_maps import class_maps
from plora.build import build
from plora.config import load_config
from plora.configs import find_config
from plora.errors import BackboneError
from plora.problems.encoded_maps import EncodedMaps
from plora.problems.semantic_segmentation import SemanticSegmentation

SHIPPED = BackboneConfig(id=SCENE_EOMT)


def test_it_is_small_and_says_how_it_was_made() -> None:
    folder = find_backbone(SHIPPED)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wanted = load_config(find_config("segmentation/scenes_patches")).backbone.network
    assert wanted is not None
    assert {name: settings[name] for name in wanted} == wanted
    assert "plora pretrain segmentation/scenes_pretrain" in (folder / "README.md").read_text(encoding="utf-8")


def test_another_file_in_its_place_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = altered(SHIPPED, tmp_path)
    monkeypatch.setattr("plora.backbones.loading.find_backbone", lambda _: copy)
    monkeypatch.setattr("plora.backbones.segmenters.find_backbone", lambda _: copy)
    with pytest.raises(BackboneError, match=r"^[^\n]* is not the file that plora ships[^\n]*; reinstall plora$"):
        load_segmentation_backbone(SHIPPED, ("ground", "disc"))


def test_it_knows_scenes_by_day_and_less_of_the_night() -> None:
    pytest.importorskip("sklearn")  # extra quickstart: it ships photographs
    right = {}
    for light in ("day", "night"):
        few = [f"stream.domains=[{light}]", "stream.train=1", "stream.validation=1", "stream.test=8", "stream.seed=7"]
        parts = build(load_config(find_config("segmentation/scenes"), [*few, "method=full", "lora=null", "modules=[]"]))
        problem, examples = parts.model.problem, parts.tasks[0].splits["test"]
        assert isinstance(problem, SemanticSegmentation)
        assert isinstance(examples, EncodedMaps)
        (split, _) = examples.parts[0]
        maps = [one.classes for one in split.read(np.arange(8))]
        found = class_maps(parts.learner.extractor, problem, examples, None, np.ones(0, np.bool_))
        objects = [(one.classes == maps[one.index])[maps[one.index] > 0] for one in found]
        right[light] = float(np.concatenate(objects).mean())
    assert right["day"] > 0.7
    assert right["night"] < right["day"] - 0.1
