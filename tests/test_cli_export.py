"""`plora export` as a user meets it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plora.config import RunConfig
from plora.runs import run


def plora(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from plora.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)


@pytest.fixture
def source(toy_config: Callable[..., RunConfig]) -> Path:
    return run(toy_config("method=per_task", "training.epochs=1"))


@pytest.mark.slow
def test_a_run_becomes_a_folder(source: Path, tmp_path: Path) -> None:
    done = plora("export", str(source), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "out"), f"python {tmp_path / 'out/inference.py'} --help"]
    assert (tmp_path / "out/food/adapter_config.json").is_file()


@pytest.mark.slow
def test_one_line_and_exit_code_2(source: Path, tmp_path: Path) -> None:
    refused = plora("export", str(source), "--out", str(tmp_path / "out"), "--merged")
    assert refused.returncode == 2
    assert refused.stderr.startswith("plora: method 'per_task' has a slot per task")
    assert len(refused.stderr.splitlines()) == 1
    offline = plora(
        "export", str(source), "--out", str(tmp_path / "out"), "--merged", "--task", "food", "--push", "me/mine"
    )
    assert offline.returncode == 2
    assert "is written, but the hub did not take it as 'me/mine'" in offline.stderr
    assert len(offline.stderr.splitlines()) == 1
    assert (tmp_path / "out/model.safetensors").is_file()
