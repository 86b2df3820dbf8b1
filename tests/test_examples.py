"""The examples are executed, with a tiny backbone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, backbone: Path) -> list[tuple[dict[str, int], bool]]:
    """What an example says after each task: accuracies in percent, and whether the slots are the same bits."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--backbone", str(backbone)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return [
        ({task: int(percent) for task, percent in re.findall(r"(\w+) (\d+)%", line)}, line.endswith("slots unchanged"))
        for line in done.stdout.splitlines()
        if line.startswith("after ")
    ]


@pytest.mark.parametrize("name", ["hand_written_loop", "trainer_callback", "accelerate_loop"])
def test_an_example_learns_three_tasks_and_forgets_none(name: str, tiny_backbone: Path) -> None:
    said = run_example(name, tiny_backbone)
    assert [list(accuracy) for accuracy, _ in said] == [["food"], ["food", "travel"], ["food", "travel", "nature"]]
    assert all(same for _, same in said)
    assert all(percent >= 90 for accuracy, _ in said for percent in accuracy.values()), said
    if name == "hand_written_loop":  # a slot of its own: not one answer changes
        assert said[0][0]["food"] == said[2][0]["food"]
        assert said[1][0]["travel"] == said[2][0]["travel"]


def test_every_example_is_tested_and_shown() -> None:
    page = (EXAMPLES.parent / "docs/guide/your-loop.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"examples/{path.name}" in page
