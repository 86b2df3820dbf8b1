"""Run folders that an older version wrote are read, scored, gone on with and used."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plora.errors import RunError, UnknownTaskError
from plora.results import read_record
from plora.results.record.found_runs import root_hash
from plora.runs import evaluate, extend, forget, predict, resume, verify
from plora.streams import LocalTask

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import KILLED, in_child, quiet

HERE = Path(__file__).parent
RUNS = ("lateral", "replay", "frozen-ridge")


@pytest.fixture
def schema_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of runs of results schema 2 and manifest schema 1, with their backbone and data beside them."""
    shutil.copytree(HERE / "schema_2", tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return Path("runs/golden")


@pytest.fixture
def schema_3(schema_2: Path) -> Path:
    """A copy of a run of results schema 3 and manifest schema 1, which has forgotten its task `travel`."""
    return shutil.copytree(HERE / "schema_3/golden3/per_task/seed-0", schema_2.parent / "golden3/per_task/seed-0")


def test_schema_3_is_read_and_brought_up_to_date_once(schema_3: Path) -> None:
    before, labels = read_record(schema_3), predict(schema_3, ["the apple and a pear"], task="food")
    assert evaluate(schema_3).tasks == ["food", "nature"]
    assert not (schema_3 / "forgotten.json").exists()  # reading writes nothing
    assert [problem for problem in verify(schema_3).problems if "probabilities" not in problem] == []
    resume(schema_3)
    after = {file: file.read_bytes() for file in schema_3.rglob("*.json")}
    assert read_record(schema_3).matrix == pytest.approx(before.matrix, nan_ok=True)
    assert read_record(schema_3).run
    assert json.loads((schema_3 / "forgotten.json").read_text())["tasks"] == ["travel"]
    assert predict(schema_3, ["the apple and a pear"], task="food") == labels
    with pytest.raises(UnknownTaskError, match="travel"):
        predict(schema_3, ["a"], task="travel")
    resume(schema_3)
    assert {file: file.read_bytes() for file in schema_3.rglob("*.json")} == after
    forget(schema_3, "food")
    assert evaluate(schema_3).tasks == ["nature"]


@pytest.mark.parametrize("point", ["write:1", "write:3", "write:6", "write:9"])
def test_bringing_up_to_date_survives_a_kill(schema_3: Path, point: str) -> None:
    whole = shutil.copytree(schema_3, schema_3.parent / "whole")
    assert in_child(lambda: resume(whole, quiet())) == 0
    assert in_child(lambda: resume(schema_3, quiet()), point) == KILLED
    assert evaluate(schema_3).tasks == ["food", "nature"]
    assert in_child(lambda: resume(schema_3, quiet())) == 0
    for file in whole.rglob("manifest.json"):
        assert (schema_3 / file.relative_to(whole)).read_bytes() == file.read_bytes()
    assert root_hash(schema_3) == root_hash(whole)


def test_what_was_changed_is_not_brought_up_to_date(schema_3: Path) -> None:
    path = schema_3 / "predictions/task-03.parquet"
    table = pq.read_table(path)
    labels = table.column("label").to_numpy()
    pq.write_table(table.set_column(2, "label", pa.array(np.roll(labels, 1))), path)
    with pytest.raises(RunError, match=r"task-03\.parquet does not give row 3 of the matrix"):
        resume(schema_3)
    assert not (schema_3 / "forgotten.json").exists()


@pytest.mark.parametrize("name", RUNS)
def test_schema_2_is_scored_and_used(schema_2: Path, name: str) -> None:
    folder = schema_2 / name / "seed-0"
    again = evaluate(folder)
    assert again.values == again.recorded
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
