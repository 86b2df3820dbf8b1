"""What people see and use of a run that gives pixels classes: new images, and the page."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_scenes import CLASSES, VALUES, scenes
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.results import PixelCounts, write_report
from plora.results.pictures.overlay import class_colours, overlay
from plora.results.record.sheet import sheet_files
from plora.runs import forget, run, segment

PLAIN = ("stream.tasks=1", "stream.number=8", "training.epochs=1")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLORA_TRUST_OWN_PARTS", "1")
        return run(load_config(VALUES, [f"output={tmp_path_factory.mktemp('runs') / 'run'}", *PLAIN]))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    folder = tmp_path / "images"
    folder.mkdir()
    for number, pixels in enumerate(scenes(2, 9, size=(24, 40)).images):
        Image.fromarray(pixels).save(folder / f"street {number}.png")
    return folder


def predict(*arguments: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    return found.exit_code, found.stdout, str(found.exception)


def test_a_folder_of_images_becomes_masks_overlays_and_shares(learned: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, printed, _ = predict(learned, images, "--out", out, "--json")
    assert code == 0
    files = sorted(images.iterdir())
    for line, one in zip(map(json.loads, printed.splitlines()), segment(learned, files), strict=True):
        with Image.open(out / "masks" / Path(line["file"]).name) as mask:
            assert mask.mode == "P"
            assert mask.getpalette() == class_colours().ravel().tolist()
            assert np.array_equal(np.asarray(mask), one.classes)
        with Image.open(out / "overlays" / Path(line["file"]).name) as shown:
            assert np.array_equal(np.asarray(shown), overlay(one.image, one.classes, CLASSES))
        counts = {name: float((one.classes == at).mean()) for at, name in enumerate(CLASSES)}
        assert line["classes"] == pytest.approx({name: share for name, share in counts.items() if share})
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == {"ground": 0, "square": 1, "stripe": 2}
    code, _, said = predict(learned, images, "--out", out)
    assert code
    assert "exists already" in said


def test_a_line_names_the_largest_classes_first(learned: Path, images: Path) -> None:
    code, printed, _ = predict(learned, images / "street 0.png", "--top", 1)
    share, file = printed.rstrip("\n").split("\t")
    (one,) = segment(learned, [images / "street 0.png"])
    largest = int(np.bincount(one.classes.ravel()).argmax())
    assert (code, file) == (0, str(images / "street 0.png"))
    assert share == f"{CLASSES[largest]} {(one.classes == largest).mean():.1%}"


def test_what_is_no_image_leaves_nothing_behind(learned: Path, images: Path, tmp_path: Path) -> None:
    text = images / "z.txt"
    text.write_text("no pixels", encoding="utf-8")
    same = tmp_path / "street 0.png"
    same.write_bytes((images / "street 0.png").read_bytes())
    for given, complaint in (
        (["a street in the rain"], "name image files"),
        ([images], "z.txt"),
        ([images / "street 0.png", same], "2 images would have the mask masks/street 0.png"),
    ):
        code, _, said = predict(learned, *given, "--out", tmp_path / "found")
        assert code
        assert complaint in said
        assert len(said.strip().splitlines()) == 1
        assert not list(tmp_path.glob("*found*"))


def test_the_page_has_image_truth_and_prediction_and_the_iou_of_each_class(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    write_report([learned], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (sheet,) = sheet_files(learned)
    with Image.open(sheet) as png:
        pixels = np.asarray(png.convert("RGB")).astype(int)
    test = scenes(4, 2)  # three of them, evenly spread
    side = pixels.shape[1] // 3 - 6
    maps = [one.classes for one in segment(learned, test.images)]
    for row, example in enumerate((0, 2, 3)):
        for column, expected in ((1, test.maps[example]), (2, maps[example])):
            rows, columns = (6 + at * (side + 6) + (2 * np.arange(32) + 1) * side // 64 for at in (row, column))
            shown = pixels[rows[:, None], columns]
            distances = np.abs(shown[..., None, :] - class_colours()[:3].astype(int)).sum(-1)
            known = expected < 3
            assert (distances.argmin(-1) == expected)[known].mean() > 0.9
    for name, iou in zip(CLASSES, PixelCounts.read(learned / "predictions/task-01.parquet").ious(), strict=True):
        assert f"<td>{name}</td><td>{100 * iou:.1f}</td>" in page
        assert f"</span>{name}</span>" in page


def test_maps_of_a_forgotten_task_go_with_it_and_later_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    settings = ["stream.number=4", "stream.tasks=2", "training.epochs=1", "method=per_task", "scenario=task"]
    for task, left in (("light-0", []), ("light-1", ["task-01.png"])):
        path = run(load_config(VALUES, [f"output={tmp_path / task}", *settings]))
        assert [file.name for file in sheet_files(path)] == ["task-01.png", "task-02.png"]
        forget(path, task)
        assert [file.name for file in sheet_files(path)] == left
