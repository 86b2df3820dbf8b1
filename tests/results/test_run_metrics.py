from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record

from plora.results import (
    FURTHER,
    ClassRankings,
    Point,
    RunMetrics,
    macro_f1,
    metrics_of_path,
    pooled_accuracy,
    write_record,
)
from plora.results.metrics import run_metrics
from plora.results.metrics.further import SYMBOLS


def predictions() -> ClassRankings:
    label = np.arange(40, dtype=np.int32) % 4
    return ClassRankings(
        np.full(40, "library"),
        np.arange(40, dtype=np.int32),
        label,
        np.where(np.arange(40) < 10, 0, label).astype(np.int32)[:, None],
        np.full((40, 1), 0.5, dtype=np.float32),
        ("a", "b", "c", "d"),
    )


def test_a_record_alone_has_what_its_matrix_and_sizes_give() -> None:
    run, metric_of = record(), RunMetrics()
    assert metric_of(run, "accuracy") == run.metrics["accuracy"]
    assert metric_of(run, "pooled_accuracy").value == pytest.approx(pooled_accuracy(run.matrix, [480] * 5))
    for name, reason in (
        ("macro_f1", "needs the predictions of a run folder"),
        ("intransigence", "needs a reference, the accuracies of joint training (plora metrics --joint)"),
        ("learning_speed", "needs the learning curve of a run folder"),
        ("forward_transfer_of_learning", "needs a reference, the accuracies of each task learned alone"),
    ):
        found = metric_of(run, name)
        assert found.value is None
        assert str(found.reason).startswith(reason)
    with pytest.raises(KeyError):
        metric_of(run, "nonsense")


def test_predictions_are_read_once_and_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = run_metrics.read_measurements
    monkeypatch.setattr(run_metrics, "read_measurements", lambda file: read.append(file) or original(file))
    file = tmp_path / "predictions" / "task-05.parquet"
    predictions().write(file)
    run = record()
    metric_of = RunMetrics({tmp_path: run})
    assert metric_of(run, "accuracy").value is not None
    assert metric_of(run, "pooled_accuracy").value is not None
    assert read == []
    assert metric_of(run, "macro_f1").value == pytest.approx(macro_f1(predictions()))
    assert metric_of(run, "expected_calibration_error").value is not None
    assert read == [file]
    other = record()  # an equal record, but not of that folder
    assert metric_of(other, "macro_f1").value is None


def test_an_unfinished_run_has_the_predictions_of_its_last_row(tmp_path: Path) -> None:
    run = record(complete=False)
    predictions().write(tmp_path / "predictions" / "task-04.parquet")
    assert RunMetrics({tmp_path: run})(run, "macro_f1").value == pytest.approx(macro_f1(predictions()))
    assert RunMetrics({tmp_path / "elsewhere": run})(run, "macro_f1").value is None


def test_names_symbols_and_units_are_unambiguous() -> None:
    assert len({*SYMBOLS, *SYMBOLS.values()}) == 2 * len(SYMBOLS)
    assert [further.symbol for further in FURTHER if further.score.unit == "points"] == ["I", "FWT_learn"]
    assert [further.symbol for further in FURTHER if further.score.unit == "steps"] == ["S90"]


def test_the_learning_speed_is_that_of_the_curve(tmp_path: Path) -> None:
    points = [Point("library", step, 0.0, 1.0, validation=accuracy) for step, accuracy in ((10, 0.4), (20, 0.5))]
    (tmp_path / "curves.jsonl").write_text("".join(point.to_line() for point in points))
    run = record()
    assert RunMetrics({tmp_path: run})(run, "learning_speed").value == 20
    write_record(tmp_path, run)
    (line,) = (
        line for line in metrics_of_path(tmp_path).markdown().splitlines() if line.startswith("| Learning speed")
    )
    assert " ".join(line.split()) == "| Learning speed | S90 | 20.0 | steps |"
    (tmp_path / "curves.jsonl").write_text("nonsense\nnonsense\n")
    assert "line 1 is damaged" in str(RunMetrics({tmp_path: run})(run, "learning_speed").reason)
