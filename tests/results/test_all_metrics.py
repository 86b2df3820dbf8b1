import json
from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record
from peer_matrices import ONE_MATRIX_FIVE_FORMULAS

from plora.errors import PloraError, RunError
from plora.results import (
    ClassRankings,
    MetricError,
    forward_transfer_of_learning,
    intransigence,
    macro_f1,
    metrics_of_path,
    pooled_average_incremental_accuracy,
    write_record,
)

EXAMPLE = ",a,b,c\nbefore,25,25,25\n1,90,20,10\n2,70,80,30\n3,60,75,85\n"


def value(found: object, name: str) -> float | None:
    return {metric.name: metric.value for metric in found.metrics}[name]  # type: ignore[attr-defined]


def test_a_file_with_everything(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(EXAMPLE)
    (tmp_path / "joint.csv").write_text("95,80,90\n")
    (tmp_path / "single.csv").write_text("a,b,c\n92,70,80\n")
    found = metrics_of_path(
        tmp_path / "m.csv", True, "domain", [100, 200, 700], tmp_path / "joint.csv", tmp_path / "single.csv"
    )
    assert value(found, "forward_transfer") == pytest.approx(0, abs=1e-12)
    assert value(found, "pooled_accuracy") == pytest.approx(0.805)
    assert value(found, "intransigence") == pytest.approx(0.1 / 3)
    assert value(found, "forward_transfer_of_learning") == pytest.approx(0.13 / 3)
    text = found.markdown()
    assert "BWT: definitions disagree by up to 7.50 points; farthest from ours is LibContinual" in text
    assert "n/a (macro-F1; TA; ECE): needs the predictions of a run folder" in text
    assert len({len(line) for line in text.split("\n\n")[1].splitlines()}) == 1
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["metrics"]["accuracy"]["value"] == pytest.approx(0.73333, abs=1e-5)
    assert content["metrics"]["macro_f1"]["value"] is None


def test_missing_cells_are_named_and_stay_missing(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(ONE_MATRIX_FIVE_FORMULAS.strip().replace("82.30", ""))
    found = metrics_of_path(tmp_path / "m.csv", percent=True)
    assert value(found, "average_incremental_accuracy") is None
    assert value(found, "backward_transfer") == pytest.approx(-0.1369, abs=1e-4)
    text = found.markdown()
    assert "needs R[6,3], the accuracy on task 3 after task 6, which was not measured" in text
    assert "F of Avalanche" in text
    assert "n/a (FWT; FWT of GEM's code): has a meaning in the domain-incremental scenario alone" in text


def test_a_run_brings_its_own(tmp_path: Path) -> None:
    tasks = [f"task {i}" for i in range(1, 12)]
    run = record(tasks=tasks, scenario="class")
    write_record(tmp_path / "run", run)
    assert value(metrics_of_path(tmp_path / "run"), "macro_f1") is None
    rng = np.random.default_rng(0)
    label, guess = rng.integers(0, 5, (2, 60)).astype(np.int32)
    predictions = ClassRankings(
        np.repeat(tasks[:6], 10),
        np.arange(60, dtype=np.int32),
        label,
        guess[:, None],
        rng.uniform(0.2, 1, (60, 1)).astype(np.float32),
        ("a", "b|c", "d", "e", "f"),
    )
    predictions.write(tmp_path / "run/predictions/task-11.parquet")
    joint = record("joint", "joint", tasks=tasks, scenario="class")
    write_record(tmp_path / "joint", joint)
    alone = record("per_task", "steady", tasks=tasks, scenario="class")
    write_record(tmp_path / "alone", alone)
    for path in (tmp_path / "run", tmp_path / "run/results.json"):
        found = metrics_of_path(path, joint=tmp_path / "joint", single=tmp_path / "alone")
        assert value(found, "macro_f1") == pytest.approx(macro_f1(predictions))
        pooled = pooled_average_incremental_accuracy(run.matrix, [480] * 11)
        assert value(found, "pooled_average_incremental_accuracy") == pytest.approx(pooled)
        assert value(found, "intransigence") == pytest.approx(intransigence(run.matrix, joint.matrix[-1]))
        learned_alone = alone.matrix[1:].diagonal()
        expected = forward_transfer_of_learning(run.matrix, learned_alone)
        assert value(found, "forward_transfer_of_learning") == pytest.approx(expected)
        assert "| b\\|c " in found.markdown()
        json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(MetricError, match="is a run, which says this itself; leave out --percent"):
        metrics_of_path(tmp_path / "run", percent=True)
    write_record(tmp_path / "other", record(tasks=tasks, scenario="task"))
    with pytest.raises(RunError, match="cannot stand in one table"):
        metrics_of_path(tmp_path / "run", joint=tmp_path / "other")


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    write_record(tmp_path, record(complete=False))
    found = metrics_of_path(tmp_path)
    assert found.notes == ("This run is unfinished: 4 of 5 tasks learned.",)
    assert value(found, "accuracy") is None
    assert "This run is unfinished" in found.markdown()


@pytest.mark.parametrize("T", [1, 2, 120])
def test_few_and_many_tasks(tmp_path: Path, T: int) -> None:
    rows = np.random.default_rng(0).uniform(size=(T + 1, T))
    np.savetxt(tmp_path / "m.csv", rows, delimiter=",")
    found = metrics_of_path(tmp_path / "m.csv", scenario="domain", sizes=list(range(1, T + 1)))
    assert len(found.tasks) == T
    assert found.markdown().startswith(f"{tmp_path / 'm.csv'}: {T} task")
    json.dumps(found.to_json(), allow_nan=False)


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(EXAMPLE)
    (tmp_path / "two.csv").write_text("95,80\n")
    with pytest.raises(MetricError, match="2 test sizes for 3 tasks"):
        metrics_of_path(tmp_path / "m.csv", True, sizes=[1, 2])
    with pytest.raises(MetricError, match=r"the reference of joint training has 2 tasks, .* has 3"):
        metrics_of_path(tmp_path / "m.csv", True, joint=tmp_path / "two.csv")
    with pytest.raises(PloraError, match="is not a run"):
        metrics_of_path(tmp_path)
