"""The table of text methods: rows of several calls stand together, and the page says which call made which."""

from pathlib import Path

import pytest

from benchmarks.render import _edges, _origins
from benchmarks.text import LISTED, ROWS, STREAMS, TOLD, TRIALS, Asked, joined, listed, plan, told
from plora.sweep.plan import plan_runs

OLD = {
    "command": "python -m benchmarks.text some",
    "commit": "aaa",
    "date": "2026-01-01",
    "hardware": "an old machine",
    "threads": 2,
    "versions": {"torch": "1"},
    "chosen_on_validation": {"method=one": {"rate": 1}, "method=two": {"rate": 2}},
    "searched": {"method=one": {"rate": [1, 2]}, "method=two": {"rate": [1, 2]}},
    "runs": [{"method": "one", "seed": 0}, {"method": "two", "seed": 0}, {"method": "four", "seed": 1}],
    "floors": [{"method": "low", "seed": 0}],
}
NEW = {
    "chosen_on_validation": {"method=one": {"rate": 2}},
    "searched": {"method=one": {"rate": [2, 4]}},
    "runs": [{"method": "one", "seed": 0, "precision": "fp32"}],
    "floors": [],
}
CALL = {name: OLD[name] for name in ("command", "commit", "date", "hardware", "threads", "versions")}


def written(command: str = "python -m benchmarks.text some --methods one") -> dict[str, object]:
    """As `evidence` writes it."""
    call = {"command": command, "commit": "bbb", "date": "2026-02-02", "hardware": "a new one", "threads": 4}
    return {**call, "versions": {"torch": "2"}, **joined(OLD, NEW)}


def test_measured_rows_take_the_place_of_old_ones_and_the_others_keep_their_call() -> None:
    found = written()
    assert found["runs"] == [
        {"call": CALL, "method": "two", "seed": 0},
        {"call": CALL, "method": "four", "seed": 1},
        {"method": "one", "seed": 0, "precision": "fp32"},
    ]
    assert found["floors"] == [{"call": CALL, "method": "low", "seed": 0}]
    assert found["chosen_on_validation"] == {"method=one": {"rate": 2}, "method=two": {"rate": 2}}
    assert found["searched"] == {"method=one": {"rate": [2, 4]}, "method=two": {"rate": [1, 2]}}


def test_a_third_call_keeps_the_call_of_each_row() -> None:
    again = joined(written(), {**NEW, "runs": [{"method": "three", "seed": 0}]})
    calls = {row["method"]: row.get("call", {}).get("commit") for row in again["runs"]}
    assert calls == {"two": "aaa", "four": "aaa", "one": "bbb", "three": None}


def test_the_page_names_the_rows_of_each_call() -> None:
    said = _origins(written()).split("\n")
    assert [line for line in said if line] == [
        "`one`: in fp32, `python -m benchmarks.text some --methods one`, 2026-02-02, a new one; torch 2; commit `bbb`.",
        "All other rows: in bf16, `python -m benchmarks.text some`, 2026-01-01, an old machine; torch 1; commit `aaa`.",
    ]
    assert _origins(written(), "floors").startswith("Measured in bf16, `python -m benchmarks.text some`, 2026-01-01")
    assert _origins(OLD).startswith("Measured in bf16, ")


@pytest.mark.parametrize("name", STREAMS)
def test_every_method_has_the_same_number_of_trials_and_the_same_rates(name: str, tmp_path: Path) -> None:
    asked = Asked(name, tmp_path, tmp_path / "runs", "fp32", ROWS)
    sweeps = [plan(asked), listed(asked), told(asked)]
    methods = set()
    for sweep in sweeps:
        assert sweep.search is not None
        runs = plan_runs(sweep)
        for method in {run.config.method for run in runs if run.study is not None}:
            search = sweep.search.of(method)
            assert search.total == TRIALS
            assert search.space["training.learning_rate"] == sweeps[0].search.space["training.learning_rate"]
            for setting in (each for key, each in search.space.items() if key != "training.learning_rate"):
                assert len(setting.examples()) >= 3, "one value stands between two others"
        methods |= {LISTED if len(run.config.strategies or ()) > 1 else run.config.label for run in runs}
        assert {run.config.scenario for run in runs} == {"task" if sweep is sweeps[2] else STREAMS[name]["scenario"]}
    assert methods >= {*ROWS} - {LISTED}
    assert TOLD in methods


def test_what_stands_at_the_edge_of_a_list_or_a_range_is_named() -> None:
    rates = {"training.learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    assert _edges({"training.learning_rate": 0.01}, rates) == []
    assert _edges({"training.learning_rate": 0.0015}, rates) == ["training.learning_rate"]
    assert _edges({"training.learning_rate": 0.08}, rates) == ["training.learning_rate"]
    assert _edges({"epochs": 2.0}, {"epochs": {"low": 1.0, "high": 5.0, "log": False}}) == []
    two = [[{"kind": "replay", "weight": w}, {"kind": "distillation", "weight": v}] for w in (1, 2, 3) for v in (4, 5)]
    assert _edges({"strategies": two[2]}, {"strategies": two}) == ["distillation.weight"]
    one = [[{"kind": "ewc", "samples": 100, "weight": w}] for w in (1, 2, 3)]
    assert _edges({"strategies": one[2]}, {"strategies": one}) == ["weight"]
