import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from made_up_runs import record
from scipy.stats import ttest_1samp

from plora.errors import RunError
from plora.results import RunRecord, StreamInfo, compare, estimates, intervals, pooled, seen_intervals

T_OF_3 = 4.302652729911275 / np.sqrt(3)
"""Half the interval of three values in standard deviations: the 97.5 % point of t with two degrees of freedom / √3."""
ORDER, OTHER = ("a", "b"), ("b", "a")


def run(
    method: str, seed: int, accuracy: float, tasks: tuple[str, ...] = ORDER, name: str = "x", data: str = "ab"
) -> RunRecord:
    """Both tasks end at `accuracy`, and were learned to 0.9: BWT is accuracy − 0.9."""
    R = np.array([[np.nan] * 2, [0.9, np.nan], [accuracy, accuracy]])
    made = record(method, tasks=tasks, seed=seed, R=R, name=name)
    parts = tuple(
        replace(d, truncated_share=0.0, fingerprints={"train": data * 32, "test": "cd" * 32}) for d in made.data
    )
    return replace(made, data=parts, stream=StreamInfo("s", ("5f0c" if tasks == ORDER else "6e1d") * 16))


def runs(method: str, *accuracies: float, tasks: tuple[str, ...] = ORDER, name: str = "x") -> list[RunRecord]:
    return [run(method, seed, value, tasks, name) for seed, value in enumerate(accuracies)]


def test_mean_standard_deviation_and_interval_by_hand() -> None:
    found = estimates(runs("ewc", 0.5, 0.6, 0.7), ["ACC", "backward_transfer"])["ewc"]
    assert list(found) == ["accuracy", "backward_transfer"]
    accuracy = found["accuracy"]
    assert accuracy.values == pytest.approx((0.5, 0.6, 0.7))
    assert accuracy.mean == pytest.approx(0.6)
    assert accuracy.std == pytest.approx(0.1)  # √((0.1² + 0 + 0.1²) / 2)
    assert accuracy.interval == pytest.approx((0.6 - T_OF_3 * 0.1, 0.6 + T_OF_3 * 0.1))
    assert accuracy.reason is None
    assert (accuracy.seeds, accuracy.orders) == (3, 1)
    assert found["backward_transfer"].mean == pytest.approx(-0.3)


@pytest.mark.parametrize("n", [3, 4, 5, 10])
@pytest.mark.parametrize("texts", [None, 500, 56])
def test_the_interval_covers_the_mean_as_often_as_it_says(n: int, texts: int | None) -> None:
    """In 20,000 experiments of few seeds each; 0.02 is thirteen standard errors of that count."""
    rng = np.random.default_rng(n)
    accuracies = rng.normal(0.8, 0.05, (n, 20_000))
    if texts is not None:  # each seed's share of so many texts: discrete, and a little skewed
        accuracies = rng.binomial(texts, np.clip(accuracies, 0, 1)) / texts
    found = intervals(accuracies)
    missing = np.isnan(found[:, 0])  # all seeds alike: no interval is given, so nothing is claimed
    covered = ((found[:, 0] <= 0.8) & (found[:, 1] >= 0.8))[~missing].mean()
    assert covered == pytest.approx(0.95, abs=0.02)
    assert missing.mean() < 0.02


def test_the_interval_agrees_with_the_paired_test() -> None:
    """A difference whose interval leaves out 0 is one whose uncorrected p-value is below 5 %, and no other."""
    differences = np.random.default_rng(3).normal(0.1, 0.07, (4, 200))
    below = ttest_1samp(differences, 0.0).pvalue < 0.05
    found = intervals(differences)
    assert (below == ((found[:, 0] > 0) | (found[:, 1] < 0))).all()
    assert below.any()
    assert not below.all()


def test_columns_together_have_the_intervals_of_each_alone() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, (5, 4))
    values[:, 1] = 0.3
    values[2, 3] = np.nan
    together = intervals(values)
    for column in (0, 2):
        assert (together[column] == intervals(values[:, column : column + 1])[0]).all()
        assert together[column, 0] < values[:, column].mean() < together[column, 1]
    assert np.isnan(together[[1, 3]]).all()


def test_the_interval_of_the_tasks_seen_ends_at_that_of_acc() -> None:
    records = [record("ewc", seed=seed) for seed in range(3)]
    band = seen_intervals(records)
    assert band is not None
    assert tuple(band[-1]) == pytest.approx(estimates(records, ["ACC"])["ewc"]["accuracy"].interval)
    assert seen_intervals(records[:2]) is None
    assert seen_intervals([*records[:2], records[1]]) is None  # three runs of two seeds


def test_few_seeds_have_no_interval_and_say_so() -> None:
    one = estimates(runs("ewc", 0.5), ["ACC"])["ewc"]["accuracy"]
    assert (one.mean, one.std, one.interval, one.reason) == (0.5, None, None, "one run has no standard deviation")
    two = estimates(runs("ewc", 0.5, 0.7), ["ACC"])["ewc"]["accuracy"]
    assert two.std == pytest.approx(0.2 / np.sqrt(2))
    assert (two.interval, two.reason) == (None, "2 seeds, and at least 3 are needed")


def test_values_that_do_not_vary_have_no_interval() -> None:
    same = estimates(runs("ncm", 0.5, 0.5, 0.5), ["ACC"])["ncm"]["accuracy"]
    assert (same.mean, same.std, same.interval) == (0.5, 0.0, None)
    assert same.reason == "every run has the same value"


def test_a_run_without_the_value_is_never_left_out_of_a_mean() -> None:
    members = runs("ewc", 0.5, 0.6)
    last_only = replace(
        members[1], seed=2, matrix=np.array([[np.nan] * 2] * 2 + [[0.7, 0.7]]), status=("trained", "evaluated")
    )
    found = estimates([*members, last_only])["ewc"]
    assert found["accuracy"].mean == pytest.approx(0.6)
    assert found["backward_transfer"].mean is None
    assert found["backward_transfer"].values[2] is None
    assert "1 of 3 runs have no value: needs the rows of earlier tasks" in str(found["backward_transfer"].reason)
    (comparison,) = compare([*members, last_only, *runs("lwf", 0.5, 0.6, 0.8)], ["BWT"])
    assert comparison.p_t is None
    assert "'ewc' has no value: needs the rows" in str(comparison.reason)


def test_paired_tests_by_hand() -> None:
    (found,) = compare([*runs("ewc", 0.61, 0.72, 0.83), *runs("lwf", 0.60, 0.70, 0.80)])
    assert (found.first, found.second, found.metric, found.seeds) == ("ewc", "lwf", "accuracy", 3)
    assert found.differences == pytest.approx((0.01, 0.02, 0.03))
    assert found.mean == pytest.approx(0.02)
    assert found.std == pytest.approx(0.01)
    assert found.effect_size == pytest.approx(2)  # 0.02 / 0.01
    # t = 0.02 / (0.01 / √3) = √12 with two degrees of freedom: p = 1 − √(t² / (t² + 2)) = 1 − √(12 / 14)
    assert found.p_t == pytest.approx(1 - np.sqrt(12 / 14))
    assert found.p_wilcoxon == pytest.approx(2 / 8)  # of the 8 choices of signs, all plus and all minus
    assert (found.p_t_holm, found.p_wilcoxon_holm) == pytest.approx((found.p_t, found.p_wilcoxon))
    assert found.interval == pytest.approx((0.02 - T_OF_3 * 0.01, 0.02 + T_OF_3 * 0.01))
    assert found.reason is None
    assert found.notes == ("with 3 pairs Wilcoxon's p-value cannot be below 0.25",)


def test_pairs_are_matched_by_seed_and_not_by_position() -> None:
    forward = [*runs("ewc", 0.61, 0.72, 0.83), *runs("lwf", 0.60, 0.70, 0.80)]
    (found,) = compare([*forward[:3], *forward[:2:-1]])
    assert found.differences == pytest.approx((0.01, 0.02, 0.03))
    (found,) = compare([*forward, run("lwf", 7, 0.1)])  # a seed that only one has takes no part
    assert found.seeds == 3


def test_holm_corrects_all_that_is_compared_together() -> None:
    rng = np.random.default_rng(0)
    records = [r for m in ("a", "b", "c") for r in runs(m, *rng.uniform(0.4, 0.6, 6))]
    found = compare(records)
    p = sorted(c.p_t for c in found if c.p_t is not None)
    holm = [3 * p[0], max(3 * p[0], 2 * p[1]), max(3 * p[0], 2 * p[1], p[2])]
    by_p = sorted(found, key=lambda c: c.p_t or 0)
    assert [c.p_t_holm for c in by_p] == pytest.approx([min(1, value) for value in holm])
    assert [(c.first, c.second) for c in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [(c.first, c.second) for c in compare(records, against="b")] == [("a", "b"), ("c", "b")]


def test_ties_are_ties_whatever_floats_make_of_them() -> None:
    (found,) = compare([*runs("a", 0.7, 0.8, 0.9, 0.5), *runs("b", 0.6, 0.7, 0.8, 0.5)])
    assert found.differences == (0.1, 0.1, 0.1, 0.0)


def test_fewer_than_three_common_seeds_give_no_p_value() -> None:
    two = [*runs("ewc", 0.6, 0.7), *runs("lwf", 0.5, 0.5, 0.5)]
    (found,) = compare(two)
    assert found.mean == pytest.approx(0.15)
    assert (found.p_t, found.p_wilcoxon, found.p_t_holm, found.effect_size, found.interval) == (None,) * 5
    assert found.reason == "no claim can be made: 2 common seeds, and at least 3 are needed"
    (found,) = compare([run("a", 0, 0.5), run("b", 1, 0.5)])
    assert (found.mean, found.reason) == (None, "no claim can be made: 0 common seeds, and at least 3 are needed")
    orders = [run(m, 0, 0.5 + k / 10, t) for k, t in enumerate((ORDER, OTHER)) for m in ("a", "b")]
    assert "1 common seed, and" in str(compare(orders)[0].reason)  # orders are not seeds


def test_a_difference_that_does_not_vary_is_no_claim() -> None:
    (found,) = compare([*runs("ncm", 0.7, 0.7, 0.7), *runs("ridge", 0.6, 0.6, 0.6)])
    assert (found.p_t, found.std) == (None, 0.0)
    assert "the difference is the same for every seed" in str(found.reason)


def test_several_orders_are_pooled_when_their_tasks_and_data_are_equal() -> None:
    records = [*runs("ewc", 0.5, 0.6, 0.7), *runs("ewc", 0.5, 0.6, 0.9, tasks=OTHER, name="x-reversed")]
    assert list(pooled(records)) == ["ewc"]
    found = estimates(records, ["ACC"])["ewc"]["accuracy"]
    assert (found.seeds, found.orders, len(found.values)) == (3, 2, 6)
    others = [*runs("lwf", 0.4, 0.6, 0.5), *runs("lwf", 0.4, 0.5, 0.6, tasks=OTHER, name="x-reversed")]
    (comparison,) = compare([*records, *others])
    assert len(comparison.differences) == 6
    assert comparison.notes[-1].startswith("6 pairs of 3 seeds and 2 orders are tested as if they were independent")


def test_two_names_in_one_order_are_two_series() -> None:
    records = [*runs("ewc", 0.5, 0.6), *runs("ewc", 0.7, 0.8, name="y"), *runs("lwf", 0.1)]
    assert list(pooled(records)) == ["ewc (x)", "ewc (y)", "lwf"]


def test_runs_that_differ_are_refused_with_the_difference() -> None:
    first = run("ewc", 0, 0.5)
    for other, difference in (
        (replace(first, seed=1, scenario="domain"), "scenario task against domain"),
        (replace(first, seed=1, stream=StreamInfo("t", "5f0c" * 16)), "stream s against t"),
        (replace(first, seed=1, stream=StreamInfo("s", "0" * 64)), "label names or versions of the data's sources"),
        (run("ewc", 1, 0.5, ("a", "c")), "the task 'b' is in 'x/ewc' alone"),
        (run("ewc", 1, 0.5, OTHER, data="ef"), "the train split of task 'a' has other data"),
        (replace(run("ewc", 1, 0.5, OTHER), data=()), "nothing is recorded about the data of task 'a'"),
    ):
        with pytest.raises(RunError, match=f"cannot be pooled: 'x/ewc' seed 0 and .* seed 1 differ: {difference}"):
            estimates([first, other])
    changed = run("ewc", 1, 0.5, OTHER)
    changed = replace(changed, data=tuple(replace(d, classes=9) for d in changed.data))
    with pytest.raises(RunError, match="task 'a' has 4 classes against 9"):
        estimates([first, changed])


def test_twice_the_same_seed_unfinished_runs_and_unknown_names_are_refused() -> None:
    with pytest.raises(RunError, match="'ewc' has seed 0 twice in the same order"):
        compare([run("ewc", 0, 0.5), run("ewc", 0, 0.6)])
    with pytest.raises(RunError, match="unfinished: 4 of 5 tasks learned; leave it out"):
        estimates([record(complete=False)])
    with pytest.raises(RunError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        estimates(runs("ewc", 0.5), ["acuracy"])
    with pytest.raises(RunError, match="no runs of 'ewk'; did you mean 'ewc'"):
        compare(runs("ewc", 0.5), against="ewk")
    with pytest.raises(RunError, match="no runs"):
        estimates([])


def test_importing_results_does_not_import_scipy_and_using_it_no_torch() -> None:
    program = (
        "import sys, plora.results\n"
        "assert not {'scipy.stats', 'statsmodels'} & set(sys.modules)\n"
        "import statsmodels.stats.multitest, scipy.stats\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
