"""The table of text methods: rows of several calls stand together, and the page says which call made which."""

from benchmarks.render import _origins
from benchmarks.text import joined

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
