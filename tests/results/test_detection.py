"""How well a score tells outliers from inliers, against scikit-learn on the very scores of the bins."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from plora.results import SCORES, PixelCounts
from plora.results.record.detection import RECALL, auroc, average_precision, false_alarms


def histograms(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of inliers and outliers, some bins of which are empty."""
    rng = np.random.default_rng(seed)
    bins = int(rng.integers(2, 30))
    inlier, outlier = rng.integers(0, 9, (2, bins)) * (rng.random((2, bins)) < 0.7)
    inlier[rng.integers(bins)] += 1
    outlier[rng.integers(bins)] += 1
    return inlier, outlier


@pytest.mark.parametrize("seed", range(20))
def test_against_scikit_learn(seed: int) -> None:
    inlier, outlier = histograms(seed)
    bins = np.arange(len(inlier))
    scores = np.concatenate([bins.repeat(inlier), bins.repeat(outlier)])
    truth = np.arange(len(scores)) >= inlier.sum()
    assert auroc(inlier, outlier) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(inlier, outlier) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    alarms, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    reached = int(np.argmax(found >= RECALL))
    ends = slice(reached - 1, reached + 1)
    expected = np.interp(RECALL, found[ends], alarms[ends])  # straight between thresholds
    assert false_alarms(inlier, outlier) == pytest.approx(expected, abs=1e-12)


def test_without_one_kind_there_is_no_number() -> None:
    some, none = np.array([1, 2, 0]), np.zeros(3, np.int64)
    for metric in (auroc, average_precision, false_alarms):
        assert np.isnan(metric(some, none))
        assert np.isnan(metric(none, some))


def test_images_are_pooled_and_other_scores_are_another_record() -> None:
    """Two images, each told apart perfectly at a threshold of its own: pooled they are not."""
    inlier, outlier = np.array([[9, 0, 0, 0], [0, 0, 9, 0]]), np.array([[0, 1, 0, 0], [0, 0, 0, 1]])
    task, example, confusions = np.array(["a", "a"]), np.arange(2, dtype=np.int32), np.ones((2, 1, 1), np.int64)
    record = PixelCounts.of_confusions(task, example, confusions, ("x",), inlier, outlier)
    assert record.rows(np.array([0])).value(SCORES["outlier_ap"]) == 1
    assert record.value(SCORES["outlier_auroc"]) == pytest.approx(0.75)
    assert record.value(SCORES["outlier_fpr95"]) == pytest.approx(0.5)
    same = np.array([4, 4])
    assert false_alarms(same, same) == pytest.approx(RECALL)
    assert record.value(SCORES["outlier_ap"]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 11)
    other = PixelCounts.of_confusions(task, example, confusions, ("x",), inlier, outlier[:, [0, 1, 3, 2]])
    assert (record.changed(other), record.largest_difference(other)) == (1, 1)
