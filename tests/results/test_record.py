import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import matrix, record

from plora.errors import RunError
from plora.results import RunRecord, read_record, write_record
from plora.sealed import write_sealed
from plora.streams.overlap import Overlap, Overlaps


def written(folder: Path, run: RunRecord) -> dict[str, object]:
    write_record(folder, run)
    content: dict[str, object] = json.loads((folder / "results.json").read_bytes())
    return content


def rewrite(folder: Path, content: dict[str, object]) -> None:
    """Write a changed record with the seal of its new content: what is left to notice is what it says."""
    write_sealed(folder / "results.json", {key: value for key, value in content.items() if key != "sha256"})


@pytest.mark.parametrize(
    "run",
    [
        record(),
        record("joint", "joint"),
        record(complete=False, warnings=("one", "two: 🐍")),
        record(evaluate_all=True, scenario="domain"),
        record(tasks=[f"task {i}" for i in range(12)]),
    ],
    ids=lambda run: f"{run.method}-{len(run.tasks)}-{run.complete}-{run.scenario}",
)
def test_round_trip(tmp_path: Path, run: RunRecord) -> None:
    write_record(tmp_path, run)
    again = read_record(tmp_path)
    assert again == run
    assert again == read_record(tmp_path / "results.json")
    np.testing.assert_array_equal(again.matrix, run.matrix)  # bit for bit, NaN where NaN
    assert again.data[0].fingerprints == run.data[0].fingerprints
    assert again.data[0].train_by_class is None  # as in files of older versions
    counts = {"a": 3, "b 🐍": 1917}
    overlaps = Overlaps(Overlap(0, 1, 2, 3), Overlap(4, 5, 6, 7))
    run = replace(run, data=(replace(run.data[0], train_by_class=counts, overlaps=overlaps), *run.data[1:]))
    write_record(tmp_path, run)
    assert read_record(tmp_path).data[0] == run.data[0]


def test_records_that_differ_in_one_cell_are_not_equal() -> None:
    R = matrix(5)
    other = R.copy()
    other[3, 1] += 1e-12
    assert record(R=R) == record(R=R)
    assert record(R=R) != record(R=other)


def test_the_file_is_strict_json_with_null_for_nan(tmp_path: Path) -> None:
    content = written(tmp_path, record())
    text = (tmp_path / "results.json").read_text()
    assert "NaN" not in text
    assert content["schema"] == 4
    rows = content["matrix"]
    assert isinstance(rows, list)
    assert rows[0] == [None] * 5
    assert rows[1][0] is not None
    assert rows[1][1] is None


def test_metrics_are_recomputed_never_trusted(tmp_path: Path) -> None:
    content = written(tmp_path, record())
    metrics = content["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["accuracy"]["value"] == record().metrics["accuracy"].value
    assert metrics["forward_transfer"]["value"] is None
    assert "untrained" in metrics["forward_transfer"]["reason"]
    metrics["accuracy"]["value"] = 0.999
    rewrite(tmp_path, content)
    assert read_record(tmp_path).metrics["accuracy"].value == record().metrics["accuracy"].value


def test_the_matrix_cannot_be_written_to_and_is_a_copy() -> None:
    R = matrix(5)
    run = record(R=R)
    with pytest.raises(ValueError, match="read-only"):
        run.matrix[1, 0] = 1.0
    R[1, 0] = 0.123
    assert run.matrix[1, 0] != 0.123


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scenario", "tasks", "scenario: Input should be 'task', 'class' or 'domain'"),
        ("seed", "0", "seed: Input should be a valid integer"),
        ("tasks", ["a", "a", "b", "c", "d"], "tasks: names must be unique"),
        ("tasks", ["a", "b"], "matrix: 5 columns for 2 tasks"),
        ("status", ["evaluated"], "status: 1 entries for 5 tasks"),
        ("status", ["pending"] * 5, "task 'library' is pending, but its row of the matrix has some score"),
        ("matrix", [[0.1, 0.2]], "matrix"),
        ("matrix", [[0.1], [0.1, 0.2]], "matrix"),
        ("matrix", [[None], ["0.5"]], "matrix: a cell is a number or null, got '0.5'"),
        ("matrix", 3, "matrix: a matrix is a list of rows"),
        ("stream", {"name": "x"}, "stream.fingerprint: Field required"),
        ("sead", 0, "sead: Unexpected keyword argument"),
        ("cost", [], "cost"),
    ],
)
def test_a_damaged_record_names_file_and_key(tmp_path: Path, key: str, value: object, message: str) -> None:
    content = written(tmp_path, record())
    content[key] = value
    rewrite(tmp_path, content)
    with pytest.raises(RunError) as caught:
        read_record(tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "results.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": NaN}', "\x00", "[" * 100_000])
def test_what_is_not_json_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match="damaged") as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_costs_name_file_and_key(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    write_sealed(tmp_path / "costs.json", {"schema": 1, "cost": [{"task": "a"}]})
    with pytest.raises(RunError, match=r"costs\.json is damaged: 0\.seconds: Field required"):
        read_record(tmp_path)
    (tmp_path / "costs.json").unlink()
    with pytest.raises(RunError, match=r"costs\.json is missing"):
        read_record(tmp_path)


def test_an_edited_record_is_noticed(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(RunError, match=r"results\.json was changed after plora wrote it"):
        read_record(tmp_path)


def test_missing_and_newer_records(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run: it has no results\.json"):
        read_record(tmp_path)
    content = written(tmp_path, record())
    rewrite(tmp_path, content | {"schema": 5})
    with pytest.raises(RunError, match="schema 5, this version of plora reads schemas 1 to 4"):
        read_record(tmp_path)


def test_a_run_that_schema_1_wrote_is_read_and_written_anew(tmp_path: Path) -> None:
    old = read_record(Path(__file__).parent / "schema_1")
    assert (old.split, dict(old.settings), old.cost[0].flops, old.cost[0].energy_joules) == ("test", {}, None, None)
    assert (old.cost[0].rehearsed, old.cost[0].strategy_seconds) == (None, None)
    assert old.metrics["accuracy"].value == pytest.approx(record().metrics["accuracy"].value)
    write_record(tmp_path, old)
    assert read_record(tmp_path) == old
    assert json.loads((tmp_path / "results.json").read_bytes())["schema"] == 4


def test_costs_that_were_written_before_strategies_were_timed_are_read(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    content = json.loads((tmp_path / "costs.json").read_bytes())
    for cost in content["cost"]:
        del cost["rehearsed"], cost["strategy_seconds"]
    del content["sha256"]
    write_sealed(tmp_path / "costs.json", content)
    assert read_record(tmp_path) == record()


def test_a_cost_says_how_fast_and_a_record_how_many_were_scored() -> None:
    run = record()
    assert run.cost[0].samples_per_second == pytest.approx(3840 / 14.2)
    assert run.cost[0].tokens_per_second == pytest.approx(210_000 / 14.2)
    assert replace(run.cost[0], tokens=None).tokens_per_second is None
    assert replace(run.cost[0], seconds=0.0).samples_per_second is None
    assert run.sizes == [480] * 5
    assert replace(run, split="validation").sizes == [200] * 5
    assert record(complete=False).sizes is None


def test_percentages_are_refused() -> None:
    with pytest.raises(RunError, match="fraction from 0 to 1"):
        record(R=matrix(5) * 100)


def test_complete_needs_every_task_and_the_last_row() -> None:
    run = record(complete=False)
    with pytest.raises(RunError, match="complete"):
        replace(run, complete=True)
