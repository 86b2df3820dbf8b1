"""A video through `plora predict`: its frames have masks and overlays, as files and as videos."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_segmentation_in_use import images, learned, predict
from tiny_scenes import CLASSES, scenes

from plora.errors import DataError
from plora.results.pictures.overlay import overlay
from plora.runs import segment, segmenting
from plora.streams.video import Frame, VideoFile, read_frames

pytest.importorskip("av", reason="the extra `video` is not installed")
__all__ = ["images", "learned"]


def video(path: Path, number: int = 5, size: tuple[int, int] = (24, 39)) -> Path:
    with VideoFile(path, Fraction(10)) as file:
        for pixels in scenes(number, 4, size=size).images:
            file.add(pixels)
    return path


def test_frames_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = list(read_frames(video(tmp_path / "street.mp4")))
    assert [frame.number for frame, _ in found] == [1, 2, 3, 4, 5]
    assert {frame.rate for frame, _ in found} == {Fraction(10)}
    for (_, pixels), written in zip(found, scenes(5, 4, size=(24, 39)).images, strict=True):
        assert pixels.shape == (24, 40, 3)  # an odd side is one longer
        assert np.abs(pixels[:, :39].astype(float) - written).mean() < 20  # H.264 has losses
    assert str(found[2][0]) == f"{tmp_path / 'street.mp4'}, frame 3"


@pytest.mark.usefixtures("images")
def test_a_video_becomes_masks_and_overlays_as_files_and_as_videos(
    learned: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenting, "_FRAMES", 2)  # the last portion is smaller
    street, out = video(tmp_path / "street.mp4"), tmp_path / "found"
    code, printed, said = predict(learned, street, images / "street 0.png", "--out", out, "--json")
    assert code == 0, said
    lines = [json.loads(line)["file"] for line in printed.splitlines()]
    assert lines == [*(f"{street}, frame {number}" for number in range(1, 6)), str(images / "street 0.png")]
    names = [f"street-{number:06}.png" for number in range(1, 6)]
    for inner in ("masks", "overlays"):
        assert sorted(file.name for file in (out / inner).iterdir()) == ["street 0.png", *names, "street.mp4"]
    frames = [pixels for _, pixels in read_frames(street)]
    alone = [one.classes for one in segment(learned, frames)]
    seen = list(read_frames(out / "overlays" / "street.mp4"))
    assert {frame.rate for frame, _ in seen} == {Fraction(10)}
    for name, pixels, classes, (_, shown) in zip(names, frames, alone, seen, strict=True):
        assert np.array_equal(np.asarray(Image.open(out / "masks" / name)), classes)
        own = overlay(pixels, classes, CLASSES)
        assert np.array_equal(np.asarray(Image.open(out / "overlays" / name)), own)
        assert np.abs(shown.astype(float) - own).mean() < 20


def test_what_is_no_video_is_one_line_and_leaves_nothing(learned: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(b"no frames here" * 40)
    for name, complaint in (("noise.mp4", "cannot be read from its beginning on"), ("gone.mp4", "cannot be read")):
        code, _, said = predict(learned, tmp_path / name, "--out", tmp_path / "found")
        assert code
        assert complaint in said
        assert len(said.strip().splitlines()) == 1
        assert not list(tmp_path.glob("*found*"))
    cut = video(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.mp4 cannot be read"):
        list(read_frames(cut))


def test_frames_have_names_of_their_own() -> None:
    assert Frame(Path("a/street.mp4"), 12, Fraction(25)).stem == "street-000012"
