"""Sheets of images: what stands in them, how large they are, and what a damaged one does to a page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record
from PIL import Image

from plora.errors import RunError
from plora.results import write_record, write_report
from plora.results.record.sheet import MOST_BYTES, SheetRow, draw_sheet, read_sheet, sheet_files


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_a_sheet_says_what_stands_in_it_and_frames_what_was_wrong(tmp_path: Path) -> None:
    rows = [SheetRow("bl\u00fcte", (None, "pear")), SheetRow("pear", (None,), 7)]
    images = [[np.full((8, 8), 200, np.uint8), np.full((20, 10, 3), 200, np.uint8)], [noise(9, 9, 1)]]
    path = tmp_path / "task-01.png"
    path.write_bytes(draw_sheet(rows, images))
    sheet = read_sheet(path)
    assert sheet.rows == tuple(rows)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        assert image.size == (6 + 2 * 70, 6 + 2 * 70)
    orange = np.abs(pixels - (0xD5, 0x5E, 0)).sum(2) < 60
    assert orange[:70, 70:].any()  # around the second of the first row
    assert not orange[:, :70].any()


def test_the_largest_sheet_of_noise_is_small_enough() -> None:
    rows = [SheetRow(f"class {number}", (None,) * 8) for number in range(10)]
    assert len(draw_sheet(rows, [[noise(64, 64, 3)] * 8] * 10)) <= MOST_BYTES


def test_what_is_no_sheet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task-01.png"
    with pytest.raises(RunError, match="is damaged: FileNotFoundError"):
        read_sheet(path)
    path.write_bytes(bytes(MOST_BYTES + 1))
    with pytest.raises(RunError, match="has 100,001 bytes"):
        read_sheet(path)
    Image.fromarray(noise(8, 8)).save(path)
    with pytest.raises(RunError, match="does not say what stands in it"):
        read_sheet(path)
    path.write_bytes(draw_sheet([SheetRow("a", (None,))], [[noise(8, 8)]])[:-40])
    with pytest.raises(RunError, match=r"task-01\.png is damaged"):
        read_sheet(path)
    Image.new("L", (3000, 3000)).save(path)
    with pytest.raises(RunError, match="3000 × 3000 pixels"):
        read_sheet(path)


def test_the_page_shows_sheets_with_their_names_escaped_and_leaves_damaged_ones_out(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_record(folder, replace(record(), problem="image_classification"))
    (folder / "examples").mkdir()
    names = (("task-01.png", "library", None, None), ("confusions.png", "<b>kind</b>", "order", 3))
    for name, of, taken_for, count in names:
        content = draw_sheet([SheetRow(of, (taken_for,), count)], [[noise(8, 8)]])
        (folder / "examples" / name).write_bytes(content)
    (folder / "examples/task-02.png").write_bytes(b"no picture")
    assert [file.name for file in sheet_files(folder)] == ["task-01.png", "task-02.png", "confusions.png"]
    write_report([folder], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert "<li>&lt;b&gt;kind&lt;/b&gt; taken for order: 3</li>" in page
    assert "Example images left out: " in page
