"""Scores of one record of predictions: F1 per class, macro-F1, calibration error. numpy alone."""

from dataclasses import dataclass

import numpy as np

from plora.results.record.class_rankings import ClassRankings
from plora.results.record.matrix import MetricError
from plora.results.record.score import SCORES

BINS = 15
"""Of the calibration error; the number of Guo et al. 2017."""


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told from the others.

    Args:
        id: global class id.
        name: of the class; may occur in more than one task.
        precision: share of its predictions that are right; NaN where it was never predicted.
        recall: share of its examples that were found; NaN where it has no example.
        f1: their harmonic mean, 0 to 1.
        support: number of its examples.
    """

    id: int
    name: str
    precision: float
    recall: float
    f1: float
    support: int


def class_scores(predictions: ClassRankings) -> tuple[ClassScore, ...]:
    """Return the scores of every class that is a label or a prediction, by id; F1 is that of `ClassRankings.f1`.

    A class that never is a label but was predicted has F1 0. Classes that are neither are left out: they say
    nothing.

    Args:
        predictions: after one row of the matrix, all tasks or some.

    Raises:
        MetricError: there are no examples.

    Source: van Rijsbergen 1979; the same numbers as scikit-learn's `f1_score(average=None)`.
    """
    _require_examples("F1", predictions)
    classes = len(predictions.class_names)
    support = np.bincount(predictions.label, minlength=classes)
    predicted = np.bincount(predictions.prediction, minlength=classes)
    hits = np.bincount(predictions.label[predictions.label == predictions.prediction], minlength=classes)
    f1 = predictions.f1()
    return tuple(
        ClassScore(
            int(c),
            predictions.class_names[c],
            float(hits[c] / predicted[c]) if predicted[c] else float("nan"),
            float(hits[c] / support[c]) if support[c] else float("nan"),
            float(f1[c]),
            int(support[c]),
        )
        for c in np.flatnonzero(support + predicted)
    )


def macro_f1(predictions: ClassRankings) -> float:
    """Return the mean F1 over the classes that are a label or a prediction; each class counts equally.

        macro-F1 = 1/|C| Σ_{c∈C} F1_c

    Args:
        predictions: after one row of the matrix, all tasks or some.

    Raises:
        MetricError: there are no examples.

    Source: the same number as scikit-learn's `f1_score(average="macro")`. Some papers take the harmonic mean of
    macro-precision and macro-recall instead, which is another number (Opitz & Burst 2019, arXiv 1911.03347).
    """
    _require_examples("F1", predictions)
    return predictions.value(SCORES["macro_f1"])


def task_accuracy(predictions: ClassRankings) -> float:
    """Return the share of examples whose predicted class belongs to their own task, 0 to 1.

        TA = 1/N Σ_n [task(ŷ_n) = task of n]

    For a method that chooses a task first and a class of that task then, this is how often it chooses right; 1 where
    the task is given.

    Args:
        predictions: after one row of the matrix, all tasks or some.

    Raises:
        MetricError: there are no examples, or two tasks have a class in common.
    """
    _require_examples("TA", predictions)
    _, owners = np.unique(predictions.task, return_inverse=True)
    owner = np.full(len(predictions.class_names), -1)
    owner[predictions.label] = owners
    if (owner[predictions.label] != owners).any():
        raise MetricError("the tasks have classes in common, so that a prediction names no task", "TA")
    return float((owner[predictions.prediction] == owners).mean())


def expected_calibration_error(predictions: ClassRankings, bins: int = BINS) -> float:
    """Return how far the probability of the predicted class is from the share that is right, 0 to 1.

        ECE = Σ_b |B_b|/N · | acc(B_b) − conf(B_b) |

    B_b holds the examples whose probability of the predicted class lies in ((b−1)/bins, b/bins], 0 belonging to
    the first; acc is the share of right predictions, conf the mean probability. Equal-width bins; the value
    depends on their number, and is biased upwards where bins hold few examples.

    Args:
        predictions: after one row of the matrix, all tasks or some.
        bins: number of bins.

    Raises:
        MetricError: there are no examples, or fewer than one bin.

    Source: Guo et al. 2017 (arXiv 1706.04599), with 15 bins.
    """
    _require_examples("ECE", predictions)
    if bins < 1:
        raise MetricError(f"needs at least one bin, got {bins}", "ECE")
    confidence = predictions.probability.astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    right = np.bincount(bin_of, weights=predictions.label == predictions.prediction, minlength=bins)
    confident = np.bincount(bin_of, weights=confidence, minlength=bins)
    return float(np.abs(right - confident).sum() / len(predictions))


def _require_examples(symbol: str, predictions: ClassRankings) -> None:
    if not len(predictions):
        raise MetricError("needs test examples, and there are none", symbol)
