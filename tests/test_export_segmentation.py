"""A run of segmentation without plora: the exported script gives the scores, and so the masks, of the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parent / "segmentation"))

from tiny_scenes import VALUES, scenes

from plora.backbones import BackboneConfig
from plora.backbones.segmenters import load_segmentation_backbone, save_segmentation_backbone
from plora.config import load_config
from plora.errors import RunError
from plora.export import export
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.runs import run
from plora.runs.loading import load_learner

_ASKED = """
import json, runpy, sys
import numpy
sys.modules["plora"] = None
place, task, *files = sys.argv[1:]
found = runpy.run_path(place + "/inference.py")
numpy.savez(place + "/scores.npz", *[found["scores"](file, task).numpy() for file in files])
"""


@pytest.fixture
def learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on a network of other classes and another size of images, read in windows."""
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    made = BackboneConfig.model_validate(VALUES["backbone"])
    save_segmentation_backbone(load_segmentation_backbone(made, ("stripe", "sky")), tmp_path / "network")
    values = {**VALUES, "backbone": {"id": str(tmp_path / "network"), "image": {"size": 40}}}
    settings = ["stream.number=8", "training.epochs=2", "problem.windows=true", "method=per_task", "scenario=task"]
    with pytest.warns(UserWarning, match="1 are taken by name"):
        return run(load_config(values, [f"output={tmp_path / 'run'}", *settings]))


def ours(path: Path, files: list[Path], task: str) -> list[np.ndarray]:
    with pytest.warns(UserWarning, match="1 are taken by name"):
        learner = load_learner(path)[0]
    problem = learner.model.eval().problem
    assert isinstance(problem, SemanticSegmentation)
    examples = problem.encode(problem.given(files))
    batch = examples.collate(np.arange(len(files)))
    with torch.inference_mode():
        return [found.numpy() for found in problem.scores(learner.model.outputs(batch, task), batch)]


def files_of(folder: Path) -> list[Path]:
    files = [folder / "wide.png", folder / "high.png"]
    for file, size in zip(files, ((30, 50), (44, 28)), strict=True):
        Image.fromarray(scenes(1, 5, size=size).images[0]).save(file)
    return files


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
def test_the_folder_gives_the_scores_of_the_run_in_a_process_of_its_own(
    learned: Path, tmp_path: Path, merged: bool
) -> None:
    files, task = files_of(tmp_path), "light-0"  # of the first of two slots
    with pytest.warns(UserWarning, match="1 are taken by name"):
        folder = export(learned, tmp_path / "out", task if merged else None, merged)
    name = task if merged or "light-0" in json.loads((folder / "adapters.json").read_text())["adapters"] else "all"
    command = [sys.executable, "-I", "-W", "ignore", "-c", _ASKED, str(folder), name, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "scores.npz") as found:
        theirs = list(found.values())
    for file, own, other in zip(files, ours(learned, files, task), theirs, strict=True):
        np.testing.assert_allclose(other, own, atol=1e-5)
        assert own.max() > 0.1
        assert own.shape[1:] == np.asarray(Image.open(file)).shape[:2]
    assert "ground, square, stripe" in (folder / "README.md").read_text(encoding="utf-8")
    shipped = {file.name for file in folder.iterdir()}
    assert ("fitted.safetensors" in shipped) == (not merged)
    assert ("model.safetensors" in shipped) == merged


@pytest.mark.parametrize(
    ("own", "said"), [("answer=patches", "its patches answer"), ("arcface={margin: 0.1}", "it tells classes by angles")]
)
def test_what_transformers_cannot_do_is_refused(
    own: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    settings = ["stream.number=4", "stream.tasks=1", "training.epochs=1", f"problem.{own}", "method=full"]
    path = run(load_config(VALUES, [f"output={tmp_path / 'run'}", *settings]))
    with pytest.raises(RunError, match=f"has no export: {said}"):
        export(path, tmp_path / "out", merged=True)
    assert not (tmp_path / "out").exists()
