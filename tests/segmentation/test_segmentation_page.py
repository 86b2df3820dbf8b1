"""The page about segmentation runs as it stands, on tiny images and a tiny network."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scenes import VALUES, scenes
from typer.testing import CliRunner

from plora.backbones import BackboneConfig
from plora.backbones.segmenters import load_segmentation_backbone, save_segmentation_backbone
from plora.cli import app
from plora.config import load_config
from plora.results import read_record

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "segmentation.md"
TINY = dict.fromkeys(("params", "run"), ("training.epochs=8", "training.learning_rate=0.01", "backbone.image.size=32"))


def blocks(language: str) -> dict[str, str]:
    return dict(re.findall(rf'```{language} title="([^"]+)"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files and the network that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    for name, text in blocks("yaml").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    split = scenes(12, 0)
    for folder in ("streets/images", "streets/masks", "new"):
        (tmp_path / folder).mkdir(parents=True)
    for number, (image, classes) in enumerate(zip(split.images, split.maps, strict=True)):
        Image.fromarray(image).save(f"streets/images/{number}.png")
        ids = np.where((classes == 2) & (np.arange(32) > 15), 3, classes).astype(np.uint8)
        Image.fromarray(ids).save(f"streets/masks/{number}.png")
    Image.fromarray(scenes(1, 3).images[0]).save("new/a.png")
    made = BackboneConfig.model_validate(VALUES["backbone"])
    save_segmentation_backbone(load_segmentation_backbone(made, ("road", "tree")), tmp_path / "models/eomt")
    return tmp_path


@pytest.mark.filterwarnings("ignore:backbone '.*eomt':UserWarning")
def test_the_page_runs_as_it_stands(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [shlex.split(line, comments=True) for line in blocks("sh")["with LoRA"].splitlines()]
    printed = {}
    for program, verb, *arguments in lines:
        if program == "python":
            monkeypatch.setattr(sys, "argv", [verb, *arguments])
            runpy.run_path(verb, run_name="__main__")
            continue
        found = CliRunner().invoke(app, [verb, *arguments, *TINY.get(verb, ())])
        assert found.exit_code == 0, (verb, found.output, found.exception)
        printed[verb] = found.stdout
    assert "attention.q_proj" in printed["params"]
    assert "parameters train in a task" in printed["params"]
    assert read_record(place / "runs/streets/sequential/seed-0").complete
    with Image.open("found/masks/a.png") as ours, Image.open("masks/a.png") as theirs:
        assert len(np.unique(np.asarray(ours))) > 1
        assert (np.asarray(ours) == np.asarray(theirs)).mean() > 0.999  # scores that are equal but for rounding
    assert json.loads((place / "found/classes.json").read_text()) == {"road": 0, "car": 1, "sky": 2}
    for name in ("method=full lora=null modules=[]", "lora=null", "lora=null problem.answer=patches"):
        load_config("streets.yaml", [*name.split(), *(["modules=[class_predictor]"] if "patches" in name else [])])


def test_settings_of_others_are_translated_as_the_page_says(place: Path) -> None:
    translated, again = (line.split(" > ")[0].split() for line in blocks("sh")["translated"].splitlines())
    found = CliRunner().invoke(app, translated[1:])
    (place / again[-1]).write_text(found.stdout, encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    for key in ("lora_rank", "lora_alpha", "lora_dropout", "img_size", "lr"):
        (home,) = re.findall(rf"\b{key}: .* → ([\w.]+):", found.stderr, re.MULTILINE)
        assert re.search(rf"^\| `{key}`[^|]*\| `{home}` \|", text, re.MULTILINE), (key, home)
    assert load_config(again[-1]).problem.kind == "semantic_segmentation"
