"""Outlier scores of pixels, and histograms that tell what the scores themselves do."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import Tensor

from plora.problems.outlier_scores import INLIER, OUTLIER, OutlierMeasure
from plora.problems.settings import OutlierScore
from plora.results.record.detection import RECALL, auroc, average_precision, false_alarms
from plora.streams.labelled_images import IGNORED

KINDS = ("rba", "msp", "max_logit", "entropy", "outlier_class")


def measure(score: str, classes: int = 3, logits: bool = False, **more: object) -> OutlierMeasure:
    return OutlierMeasure(OutlierScore.model_validate({"score": score, **more}), classes, logits)


def of(score: str, pixel: list[float], **more: object) -> float:
    return float(measure(score, **more).scores(torch.tensor(pixel)[:, None, None]))


def test_scores_of_a_pixel_by_hand() -> None:
    pixel = [2.0, 0.5, 0.0]
    assert of("rba", pixel) == pytest.approx(-math.tanh(2) - math.tanh(0.5))
    assert of("max_logit", pixel) == -2
    for t in (1.0, 0.5):
        p = np.exp(np.array(pixel) / t) / np.exp(np.array(pixel) / t).sum()
        assert of("msp", pixel, temperature=t) == pytest.approx(1 - p.max())  # of probabilities, not of raw scores
        assert of("entropy", pixel, temperature=t) == pytest.approx(-(p * np.log(p)).sum())
    assert of("outlier_class", [*pixel, 3.5]) == 1.5
    assert of("rba", [50.0, 0.0, 0.0]) == of("rba", [0.0, 0.0, 50.0]) == -1  # claimed by one class for certain


@pytest.mark.parametrize("score", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_places_rise_with_scores_and_have_a_bin(score: str, temperature: float) -> None:
    cooled = {"temperature": temperature} if score in ("msp", "entropy") else {}
    own = measure(score, logits=temperature != 1, **cooled)
    g = torch.Generator().manual_seed(0)
    answers = torch.cat([scale * torch.randn(4, 1, 500, generator=g) for scale in (0.01, 1.0, 100.0)], dim=2)
    answers = answers if own.logits else answers.abs()
    scores = own.scores(answers).flatten()
    places = own.places(scores)[scores.argsort()]
    assert (places.diff() >= 0).all()
    assert 0 <= places.min() < places.max() <= 1
    assert len(places.unique()) > 500
    inlier, outlier = own.histograms(answers, torch.full((1, 1500), OUTLIER))
    assert (int(inlier.sum()), int(outlier.sum()), len(outlier)) == (0, 1500, 8192)


def answers(seed: int, classes: int, queries: bool) -> tuple[Tensor, Tensor]:
    """Scores of classes, of which outliers have less of each; and which pixels are outliers."""
    g = torch.Generator().manual_seed(seed)
    shape = (classes + 1, 200, 250)
    outlier = (torch.rand(shape[1:], generator=g) < 0.1).long()
    sure = torch.where(outlier == 1, 0.45, 0.75) + 0.15 * torch.randn(shape[1:], generator=g)
    found = 0.1 * torch.rand(shape, generator=g)
    found.scatter_add_(0, torch.randint(classes, (1, *shape[1:]), generator=g), sure.clamp(min=0)[None])
    found[-1] += 0.3 * outlier
    return found if queries else 12 * found - 4, outlier


@pytest.mark.parametrize(
    ("score", "queries"),
    [(score, queries) for score in KINDS for queries in (True, False) if queries or score != "rba"],
)
@pytest.mark.parametrize("classes", [2, 19])
def test_histograms_tell_what_exact_scores_do(score: str, queries: bool, classes: int) -> None:
    """Within 1e-3, against scikit-learn on the scores of all pixels that count."""
    own = measure(score, classes, not queries)
    pixels, outlier = answers(classes, classes, queries)
    told = torch.where(torch.arange(250) < 20, IGNORED, outlier)
    inliers, outliers = (found.numpy() for found in own.histograms(pixels, told))
    valid = told != IGNORED
    truth, scores = (told[valid] == OUTLIER).numpy(), own.scores(pixels)[valid].double().numpy()
    assert (inliers.sum(), outliers.sum()) == ((told == INLIER).sum(), truth.sum())
    assert auroc(inliers, outliers) == pytest.approx(roc_auc_score(truth, scores), abs=1e-3)
    assert average_precision(inliers, outliers) == pytest.approx(average_precision_score(truth, scores), abs=1e-3)
    alarms, found, _ = roc_curve(truth, scores)
    assert false_alarms(inliers, outliers) == pytest.approx(alarms[found >= RECALL][0], abs=1e-3)
    assert 0.6 < auroc(inliers, outliers) < 0.9999


@pytest.mark.parametrize("score", KINDS)
def test_classes_that_are_not_learned_yet_have_no_part(score: str) -> None:
    pixels, _ = answers(0, 3, True)
    hidden = pixels.index_fill(0, torch.tensor([1]), float("-inf"))
    expected = measure(score, 2).scores(pixels[[0, 2, 3]])
    found = measure(score).scores(hidden)
    torch.testing.assert_close(found, expected)
    assert measure(score).places(found).isfinite().all()
