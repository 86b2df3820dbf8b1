"""The report in a real browser: it lays out at three widths, and nothing goes wrong on the way."""

import shutil
import subprocess
from pathlib import Path

import pytest
from made_up_runs import record

from plora.results import write_record, write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; .ci/run installs one")
@pytest.mark.parametrize("width", [480, 900, 1280])
def test_the_report_is_drawn(tmp_path: Path, width: int) -> None:
    for method in ("sequential", "joint"):
        folder = tmp_path / "runs" / method
        folder.mkdir(parents=True)
        write_record(folder, record(method, "joint" if method == "joint" else "forgets"))
    page, picture = tmp_path / "report.html", tmp_path / "page.png"
    write_report([tmp_path / "runs"], page)
    result = subprocess.run(
        [
            str(BROWSER),
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},2000",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in result.stderr, result.stderr
    header = picture.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20], "big") == width
    assert picture.stat().st_size > 20_000  # an empty page of this size is a few kilobytes
