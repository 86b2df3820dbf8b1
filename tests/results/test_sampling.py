"""What a test set of some size can tell: the interval of an accuracy, and two methods on the same examples."""

from pathlib import Path

import numpy as np
import pytest
from made_up_runs import record
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from plora.errors import RunError
from plora.results import (
    SCORES,
    ClassRankings,
    PairedExamples,
    RunMetrics,
    RunRecord,
    against_best,
    mcnemar_p,
    mean_interval,
    size_interval,
    undecided_doubts,
    wilson,
    write_record,
)


def test_wilson_is_that_of_statsmodels() -> None:
    hits, sizes = np.array([0, 28, 56, 70]), [56, 56, 56, 100]
    low, high = proportion_confint(hits, np.array(sizes), method="wilson")
    assert wilson(hits / sizes, sizes) == pytest.approx(np.stack([low, high], axis=1), abs=1e-9)
    middle = wilson(np.array([0.5]), [56])[0]
    assert (middle[1] - middle[0]) / 2 == pytest.approx(0.127, abs=0.001)  # 56 texts: ± 12.7 points


def test_one_task_has_wilsons_interval_and_more_tasks_a_narrower_one() -> None:
    assert mean_interval(np.array([0.7]), [100]) == pytest.approx(tuple(wilson(np.array([0.7]), [100])[0]))
    low, high = mean_interval(np.full(4, 0.7), [100] * 4)
    alone = wilson(np.array([0.7]), [100])[0]
    assert (high - 0.7, 0.7 - low) == pytest.approx(((alone[1] - 0.7) / 2, (0.7 - alone[0]) / 2))


@pytest.mark.parametrize("sizes", [[56], [30, 80, 500]])
@pytest.mark.parametrize("p", [0.5, 0.9])
def test_the_interval_covers_the_accuracy_as_often_as_it_says(sizes: list[int], p: float) -> None:
    rng = np.random.default_rng(7)
    true = np.linspace(p, p - 0.1, len(sizes))
    shares = rng.binomial(sizes, true, (4000, len(sizes))) / sizes
    bounds = np.array([mean_interval(row, sizes) for row in shares])
    covered = ((bounds[:, 0] <= true.mean()) & (true.mean() <= bounds[:, 1])).mean()
    assert covered == pytest.approx(0.95, abs=0.02)


def test_what_has_no_accuracies_or_sizes_has_no_such_interval() -> None:
    run = record()
    assert size_interval([run]) is not None
    assert size_interval([record(complete=False)]) is None
    assert size_interval([RunRecord(**{**vars(run), "score": SCORES["mean_iou"]})]) is None


def predicted(wrong: list[int], n: int = 200, example: int = 0) -> ClassRankings:
    prediction = np.zeros((n, 1), dtype=np.int32)
    prediction[wrong] = 1
    at = np.arange(example, example + n, dtype=np.int32)
    ones = np.full((n, 1), 0.9, dtype=np.float32)
    return ClassRankings(np.full(n, "a"), at, np.zeros(n, dtype=np.int32), prediction, ones, ("x", "y"))


def test_mcnemar_counts_the_examples_that_one_alone_has_right() -> None:
    first, second = predicted([0, 1, 2]), predicted([1, 2, *range(10, 20)])
    assert mcnemar_p(first, second) == pytest.approx(binomtest(1, 11, 0.5).pvalue)  # 1 against 10
    assert mcnemar_p(second, first) == pytest.approx(mcnemar_p(first, second))
    assert mcnemar_p(first, first) == 1
    with pytest.raises(RunError, match="other examples"):
        mcnemar_p(first, predicted([0], example=5))


def test_methods_that_the_test_examples_cannot_tell_apart_are_named(tmp_path: Path) -> None:
    wrong = {"best": range(20), "close": range(2, 25), "worse": range(20, 90), "unpaired": range(50)}
    runs = {}
    for method, missed in wrong.items():
        for seed in (0, 1) if method != "unpaired" else (7,):
            R = np.array([[np.nan], [1 - len(missed) / 200]])
            runs[tmp_path / f"{method}-{seed}"] = record(method, tasks=["a"], seed=seed, R=R)
    for folder, run in runs.items():
        write_record(folder, run)
        predicted(list(wrong[run.method])).write(folder / "predictions" / "task-01.parquet")
    compared = against_best(list(runs.values()), "best", RunMetrics(runs))
    assert [(pair.second, pair.seeds, pair.examples) for pair in compared] == [("close", 2, 200), ("worse", 2, 200)]
    close, worse = compared
    assert close.difference == pytest.approx(3 / 200)
    assert close.p == min(1, 2 * binomtest(2, 7, 0.5).pvalue)  # the smaller of two, times two
    assert worse.p < 1e-6
    assert undecided_doubts(compared) == [
        "Less than 200 test examples can tell (McNemar's test, seed by seed): best against close "
        "(+1.5 points, p = 0.91)."
    ]
    assert undecided_doubts([worse]) == []
    many = [PairedExamples("a", f"m{k}", 56, 1, 0.01, 0.5) for k in range(8)]
    assert undecided_doubts(many)[0].endswith("m4 (+1.0 points, p = 0.5) and 3 more.")
