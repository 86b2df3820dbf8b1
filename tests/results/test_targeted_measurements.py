"""Records of label sets and of numbers: scores are scikit-learn's and SciPy's, and files come back as they were."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error

from plora.errors import RunError
from plora.results import SCORES, LabelScores, Measurements, PredictedNumbers, read_measurements
from plora.results.metrics.further import FURTHER, OF_KINDS

NAMES = tuple(f"label {number}" for number in range(6))


def labelled(seed: int, examples: int = 40, labels: int = 4, ties: bool = True) -> LabelScores:
    """Random label sets; of six names the last two are asked of nobody, and the first of them is had by nobody."""
    rng = np.random.default_rng(seed)
    truth = rng.random((examples, labels)) < 0.3
    truth[:, 0] = False
    score = rng.normal(size=(examples, labels))
    score = np.round(score * 2) / 2 if ties else score
    score[:, 1] = np.abs(score[:, 1]) * (-1 if seed % 2 else 1)
    return LabelScores(
        np.full(examples, "a"),
        np.arange(examples, dtype=np.int32),
        np.arange(examples + 1) * labels,
        np.tile(np.arange(labels, dtype=np.int32), examples),
        truth.ravel(),
        score.astype(np.float32).ravel(),
        NAMES,
    )


def numbers(seed: int, examples: int = 30, each: int = 2) -> PredictedNumbers:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 9, (examples, each)) * 1e3
    prediction = np.round(target + rng.normal(size=target.shape) * 3e3, -3)
    return PredictedNumbers(
        np.full(examples, "a"),
        np.arange(examples, dtype=np.int32),
        np.arange(examples + 1) * each,
        target.ravel(),
        prediction.ravel(),
    )


def test_a_metric_that_a_record_scores_by_itself_has_its_value() -> None:
    by_name = {metric.name: metric for metric in (*FURTHER, *OF_KINDS)}
    R = np.array([[np.nan], [0.5]])
    for name in ("macro_f1", "exact_match"):
        found = by_name[name].metric(R, labelled(0))
        assert found.value == labelled(0).value(SCORES[name])
    reason = by_name["macro_f1"].metric(R, numbers(0)).reason
    assert reason == "needs class rankings, and this run recorded predicted numbers"


@pytest.mark.parametrize("seed", range(8))
def test_scores_of_label_sets_are_those_of_scikit_learn_with_ties_and_absent_labels(seed: int) -> None:
    found = labelled(seed)
    truth, score = (flat.reshape(40, 4) for flat in (found.truth, found.score))
    given = score >= 0
    assert found.value(SCORES["micro_f1"]) == pytest.approx(f1_score(truth, given, average="micro"), abs=1e-12)
    macro = f1_score(truth, given, average="macro", zero_division=np.nan)
    assert found.value(SCORES["macro_f1"]) == pytest.approx(macro, abs=1e-12)
    had = truth.any(0)
    expected = average_precision_score(truth[:, had], score[:, had], average="macro")
    assert found.value(SCORES["mean_average_precision"]) == pytest.approx(expected, abs=1e-12)
    assert found.value(SCORES["exact_match"]) == pytest.approx((truth == given).all(1).mean())
    assert np.isnan(found.average_precisions()[[0, 4, 5]]).all()  # had by nobody, and asked of nobody


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("each", [1, 3])
def test_scores_of_numbers_are_those_of_scipy_with_ties(seed: int, each: int) -> None:
    found = numbers(seed, each=each)
    target, prediction = (flat.reshape(30, each) for flat in (found.target, found.prediction))
    assert found.value(SCORES["mean_absolute_error"]) == pytest.approx(mean_absolute_error(target, prediction))
    for name, of_one in (("pearson", pearsonr), ("spearman", spearmanr)):
        expected = np.mean([of_one(target[:, k], prediction[:, k]).statistic for k in range(each)])
        assert found.value(SCORES[name]) == pytest.approx(expected, abs=1e-12)


def test_a_constant_says_nothing_of_an_order() -> None:
    found = numbers(0, each=1)
    flat = PredictedNumbers(found.task, found.example, found.starts, found.target, np.full(30, 7.0))
    assert flat.value(SCORES["pearson"]) == flat.value(SCORES["spearman"]) == 0
    same = PredictedNumbers(found.task, found.example, found.starts, np.full(30, 7.0), found.prediction)
    assert np.isnan(same.value(SCORES["pearson"]))


@pytest.mark.parametrize("made", [labelled, numbers])
def test_files_parts_and_joins_keep_every_number(made: type, tmp_path: Path) -> None:
    found: Measurements = made(3)
    found.write(tmp_path / "it.parquet")
    back = read_measurements(tmp_path / "it.parquet")
    assert type(back) is type(found)
    assert back.changed(found) == 0
    assert back.largest_difference(found) == 0
    first, rest = found.rows(np.arange(len(found)) < 7), found.rows(np.arange(7, len(found)))
    again = type(found).joined([first, rest])
    assert again.changed(found) == 0
    score = SCORES[found.scores[0]]
    assert again.value(score) == found.value(score)
    assert found.rows(np.zeros(len(found), np.bool_)).value(score) != found.value(score)
    with pytest.raises(RunError, match="cannot give the score"):
        found.value(SCORES["perplexity"])


def test_what_came_out_otherwise_is_counted() -> None:
    one = labelled(1, ties=False)
    score = one.score.copy()
    score[0], score[9] = -score[0] - 0.1, score[9] * 2  # the first crosses 0, the second does not
    other = LabelScores(one.task, one.example, one.starts, one.label, one.truth, score, NAMES)
    assert one.changed(other) == 1
    assert one.largest_difference(other) == pytest.approx(max(abs(2 * float(one.score[0]) + 0.1), abs(one.score[9])))
    two = numbers(1)
    prediction = two.prediction.copy()
    prediction[[0, 1, 9]] += 5
    changed = PredictedNumbers(two.task, two.example, two.starts, two.target, prediction)
    assert (two.changed(changed), two.largest_difference(changed)) == (2, 5)


def test_what_does_not_fit_is_refused() -> None:
    found, other = labelled(0), numbers(0)
    with pytest.raises(RunError, match="a score is NaN or infinite"):
        LabelScores(
            found.task, found.example, found.starts, found.label, found.truth, np.full_like(found.score, np.nan), NAMES
        )
    with pytest.raises(RunError, match="a label is out of range, there are 2 labels"):
        LabelScores(found.task, found.example, found.starts, found.label, found.truth, found.score, NAMES[:2])
    with pytest.raises(RunError, match="do not fit each other"):
        LabelScores(found.task, found.example, found.starts[1:], found.label, found.truth, found.score, NAMES)
    with pytest.raises(RunError, match="a number is NaN or infinite"):
        PredictedNumbers(other.task, other.example, other.starts, other.target, np.full_like(other.prediction, np.inf))
    mixed = PredictedNumbers.joined([numbers(0, each=1), numbers(0, each=2)])
    assert np.isnan(mixed.value(SCORES["pearson"]))  # of tasks with one number, and with two
