"""`plora predict` as a user with images meets it: files, folders of them, and what is no image."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.errors import DataError
from plora.runs import run
from plora.streams.images import ImageFiles


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A run that solves nearest means on a tiny new network, for grey images of 8 × 8 pixels."""
    network = {
        "model_type": "resnet",
        "num_channels": 1,
        "embedding_size": 4,
        "hidden_sizes": [4],
        "depths": [1],
        "layer_type": "basic",
    }
    values = {
        "name": "images",
        "problem": {"kind": "image_classification"},
        "stream": {"kind": "digits", "held_back": 0.9, "per_task": 5, "validation_fraction": 0.2},
        "scenario": "class",
        "method": "frozen",
        "head": "ncm",
        "output": str(tmp_path / "runs"),
        "backbone": {"kind": "new", "network": network, "image": {"size": 8, "mean": [0.5], "std": [0.5]}},
    }
    return run(load_config(values, []))


def picture(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(path.name)).integers(0, 256, shape).astype(np.uint8)).save(path)
    return path


def test_files_and_folders_of_images(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "photos"
    names = [picture(folder / name, 9, 7) for name in ("b.png", "a.png", "10.png", "2.png")]
    picture(folder / "deeper/c.png", 8, 8)
    (folder / ".hidden").write_text("no image")
    alone = picture(tmp_path / "alone.png", 8, 8)

    def answers(*paths: Path) -> list[dict[str, object]]:
        done = CliRunner().invoke(app, ["predict", str(source), "--json", *map(str, paths)])
        assert done.exit_code == 0, done.output
        assert all(line.startswith("plora: left out: hidden, or of the system") for line in done.stderr.splitlines())
        return [json.loads(line) for line in done.stdout.splitlines()]

    found = answers(alone, folder)
    assert [answer["file"] for answer in found] == [str(path) for path in (alone, *sorted(names))]
    assert found[1:] == answers(*sorted(names))
    paths = "".join(f"{path}\n" for path in (alone, folder))
    by_stdin = CliRunner().invoke(app, ["predict", str(source), "--json"], input=paths)
    assert [json.loads(line) for line in by_stdin.stdout.splitlines()] == found

    def refused(*paths: Path) -> str:
        done = CliRunner().invoke(app, ["predict", str(source), *map(str, paths)])
        assert isinstance(done.exception, DataError), done.output
        assert done.output == ""  # nothing is told of the others
        (line,) = str(done.exception).splitlines()
        return line

    (folder / "c.png").write_bytes(names[0].read_bytes()[:60])
    assert refused(alone, folder).startswith(f"{folder / 'c.png'} cannot be read as an image: ")
    (folder / "c.png").write_text("a note")
    assert refused(folder).startswith(f"{folder / 'c.png'} cannot be read as an image: cannot identify image file")
    assert (
        refused(tmp_path / "none.png")
        == f"image {tmp_path / 'none.png'} does not exist, or is no file; name image files"
    )
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith(f"folder {tmp_path / 'empty'} holds no files; name image files")
    said = refused(picture(tmp_path / "rgb.png", 8, 8, 3))
    assert said.startswith(
        f"{tmp_path / 'rgb.png'} has 3 channels, and the backbone takes 1; set stream.reading.colours"
    )
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's guard raises an error of its own kind
    assert "exceeds limit of 20 pixels" in refused(alone)


def test_an_error_without_words_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise EOFError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"a.png cannot be read as an image: EOFError"):
        ImageFiles((tmp_path / "a.png",), np.zeros(1, np.int64)).read(np.zeros(1, np.int64))
