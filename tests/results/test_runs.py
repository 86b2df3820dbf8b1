from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import record

from plora.errors import RunError
from plora.results import (
    RunRecord,
    find_runs,
    group_doubts,
    group_runs,
    pooled,
    require_comparable,
    require_poolable,
    run_doubts,
    series,
    write_record,
)


def test_finds_runs_below_parents_in_natural_order_once(tmp_path: Path) -> None:
    for seed in (10, 2, 1):
        write_record(tmp_path / "ewc" / f"seed-{seed}", record("ewc", seed=seed))
    write_record(tmp_path / ".trash" / "old", record())
    found = find_runs([tmp_path, tmp_path / "ewc", tmp_path / "ewc" / "seed-2" / "results.json"])
    assert [folder.name for folder in found.runs] == ["seed-1", "seed-2", "seed-10"]
    assert [run.seed for run in found.runs.values()] == [1, 2, 10]
    assert found.left_out == found.unfinished == ()


def test_unfinished_and_damaged_runs_are_named(tmp_path: Path) -> None:
    write_record(tmp_path / "good", record())
    write_record(tmp_path / "half", record(complete=False))
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "config.yaml").write_text("method: ewc")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "results.json").write_text('{"schema"')
    found = find_runs([tmp_path])
    assert [folder.name for folder in found.runs] == ["good", "half"]
    assert len(found.left_out) == 1
    assert str(tmp_path / "torn") in found.left_out[0]
    assert sorted(found.unfinished) == [
        f"{tmp_path / 'half'}: unfinished: 4 of 5 tasks learned",
        f"{tmp_path / 'started'}: stopped before its first evaluation",
    ]


def test_a_path_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(RunError, match=r"is not a run: it has no results\.json, nor has any folder below it"):
        find_runs([tmp_path])
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunError, match="stopped before its first evaluation"):
        find_runs([tmp_path])
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        find_runs([tmp_path])


def test_runs_that_differ_are_grouped_apart_and_refused_together() -> None:
    a, b = record("ewc"), record("joint", "joint")
    for other, difference in (
        (record(scenario="domain"), "scenario task, .* has scenario domain"),
        (record(stream="topics"), "stream docstring skills, .* has stream topics"),
        (record(tasks=["library", "parameters", "kind", "match", "order"]), "tasks library, kind"),
    ):
        assert group_runs([a, other, b]) == [[a, b], [other]]
        with pytest.raises(RunError, match=difference):
            require_comparable([a, b, other])
    require_comparable([a, b])
    with pytest.raises(RunError, match="no runs"):
        require_comparable([])


def test_series_hold_the_seeds_of_one_method() -> None:
    runs = [record("ewc", seed=0), record("joint", "joint"), record("ewc", seed=1)]
    assert {label: [run.seed for run in members] for label, members in series(runs).items()} == {
        "ewc": [0, 1],
        "joint": [0],
    }
    runs.append(record("ewc", seed=0, name="skills-small"))
    assert list(series(runs)) == ["ewc (skills)", "joint", "ewc (skills-small)"]


def test_seeds_of_other_settings_are_no_repetitions() -> None:
    def made(seed: int, rate: float, **more: object) -> RunRecord:
        settings = {"training": {"learning_rate": rate, "log_every": seed + 1}, "evaluation": {"split": "test"}, **more}
        return replace(record(seed=seed), settings=settings)

    same = [made(0, 1e-3), made(1, 1e-3)]
    assert list(series(same)) == ["sequential"]
    assert list(series([*same, record(seed=2)])) == ["sequential"]  # schema 1 says nothing of its settings
    other = series([*same, made(2, 1e-4)])
    assert {label: len(runs) for label, runs in other.items()} == {
        "sequential, training.learning_rate 0.001": 2,
        "sequential, training.learning_rate 0.0001": 1,
    }
    newer = made(2, 1e-3, head="ridge")  # the others were written before there was such a key
    assert list(pooled([*same, newer])) == ["sequential"]


def test_validation_scores_never_stand_beside_test_scores() -> None:
    runs = [record(), replace(record(seed=1), split="validation")]
    with pytest.raises(RunError, match=r"has split test, .* has split validation; compare them apart"):
        require_comparable(runs)
    with pytest.raises(RunError, match="split test against validation"):
        require_poolable(runs)
    assert len(group_runs(runs)) == 2
    assert any("validation split was scored, not test" in line for line in run_doubts(runs[1]))
    assert any("validation split was scored, not test" in line for line in group_doubts(runs[1:]))
