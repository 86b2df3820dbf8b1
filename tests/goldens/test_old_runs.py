"""Run folders that an older version wrote are read, scored, gone on with and used."""

import json
import shutil
from pathlib import Path

import pytest

from plora.results import read_record
from plora.runs import evaluate, extend, predict, resume, verify
from plora.streams import LocalTask

HERE = Path(__file__).parent
RUNS = ("lateral", "replay", "frozen-ridge")


@pytest.fixture
def schema_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of runs of results schema 2 and manifest schema 1, with their backbone and data beside them."""
    shutil.copytree(HERE / "schema_2", tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return Path("runs/golden")


@pytest.mark.parametrize("name", RUNS)
def test_schema_2_is_scored_and_used(schema_2: Path, name: str) -> None:
    folder = schema_2 / name / "seed-0"
    again = evaluate(folder)
    assert again.accuracy == again.recorded
    assert again.changed == 0
    task = "food" if name == "lateral" else None
    found = predict(folder, ["the apple and a pear", "very old rye"], task=task)
    assert [len(one.labels) for one in found] == [2, 2] if task else [3, 3]
    assert [problem for problem in verify(folder).problems if "probabilities" not in problem] == []


@pytest.mark.parametrize("name", RUNS)
def test_schema_2_is_gone_on_with(schema_2: Path, name: str) -> None:
    folder = schema_2 / name / "seed-0"
    before = read_record(folder)
    resume(folder)
    assert read_record(folder).matrix == pytest.approx(before.matrix, nan_ok=True)
    fillers = ["the", "a", "of", "and", "in", "very", "old", "new"]
    lines = [
        json.dumps({"text": f"{one} {word} {other}", "label": label})
        for word, label in (("tree", "x"), ("wing", "y"))
        for one in fillers
        for other in fillers[:4]
    ]
    Path("more.jsonl").write_text("\n".join(lines), encoding="utf-8")
    extend(folder, LocalTask(name="more", train=Path("more.jsonl")))
    after = read_record(folder)
    assert after.tasks == (*before.tasks, "more")
    assert after.matrix[1:4, :3] == pytest.approx(before.matrix[1:], nan_ok=True)  # row 0 has new rivals
