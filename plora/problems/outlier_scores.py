"""How much a pixel looks like nothing that was learned, from the scores of its classes, and histograms of it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plora.problems.settings import OutlierScore
from plora.results.record.components import WIDTH, component_counts
from plora.streams.labelled_images import IGNORED, ClassPixels, LabelledImage

_LOGITS = 8.0
"""The size of logits at which the bins of their histograms are a quarter as dense."""
_LEAST = 1e-7
"""Of a share whose odds are taken."""
INLIER, OUTLIER, UNSAID = 0, 1, 2
"""What a map of outliers says of a pixel; IGNORED where it counts in neither. Of an image of which nobody says what is
an outlier, pixels with a class are learned as inliers, and not measured."""


@dataclass(frozen=True)
class OutlierMeasure:
    """Outlier scores s of pixels, from the scores L of the C classes; the higher, the more of an outlier.

        rba            s = − Σ_c tanh L_c
        msp            s = 1 − max_c p_c,            p = softmax(L / T)
        max_logit      s = − max_c L_c
        entropy        s = − Σ_c p_c log p_c
        outlier_class  s = L of the outlier class − max_c L_c

    Their histograms have even bins over 0 to 1, in which a score has the place

                       of queries, L ≥ 0            of patches, L logits
        rba            1 + s / (1 + |s|)            not measured
        msp            − log(1 − s) / log C         g(log(s / (1 − s)))
        max_logit      1 + s / (1 + |s|)            g(s)
        entropy        1 − √(1 − h)                 g(log(h / (1 − h))), h = s / log C
        outlier_class  ½ (1 + s / (1 + |s|))        g(s) = ½ (1 + s / (8 + |s|))

    which rises with s, so that what is told from ranks is that of the scores themselves, but for those in one bin.

    Args:
        settings: which score.
        classes: C.
        logits: L are logits, as of patches, and not at least 0, as of queries.

    Source: Nayal et al. 2023 (RbA, arXiv 2211.14293), Hendrycks and Gimpel 2017 (MSP, arXiv 1610.02136), Hendrycks et
    al. 2022 (MaxLogit, arXiv 1911.11132).
    """

    settings: OutlierScore
    classes: int
    logits: bool = False

    def scores(self, answers: Tensor) -> Tensor:
        """Return s `[H, W]`.

        Args:
            answers: L `[C, H, W]`, and that of the outlier class after them where there is one. Classes of −∞
                everywhere are not learned yet, and have no part in it.
        """
        known = answers[: self.classes].float()
        known = known[(known > float("-inf")).flatten(1).any(1)]
        if self.settings.score == "outlier_class":
            return answers[self.classes].float() - known.amax(0)
        return _SCORES[self.settings.score](known, self.settings.temperature)

    def places(self, scores: Tensor) -> Tensor:
        """Return where scores lie in their histogram, 0 to 1.

        Args:
            scores: s, of any shape.
        """
        kind, most = self.settings.score, math.log(max(self.classes, 2))
        if self.logits:
            odds = {"msp": 1.0, "entropy": most}
            told = (scores / odds[kind]).logit(eps=_LEAST) if kind in odds else scores
            return (1 + F.softsign(told / _LOGITS)) / 2
        if kind == "msp":
            return (-torch.log1p(-scores.clamp(max=1 - 1 / self.classes)) / most).clamp(0, 1)
        if kind == "entropy":
            return 1 - (1 - scores / most).clamp(0, 1).sqrt()
        return (1 + F.softsign(scores)) / 2 if kind == "outlier_class" else 1 + F.softsign(scores)

    def histograms(self, answers: Tensor, outliers: Tensor) -> tuple[Tensor, Tensor]:
        """Return of inliers and of outliers how many have a score in each bin, `[bins]` int64 each.

        Args:
            answers: as `scores` has them.
            outliers: `[H, W]`, a map of outliers.
        """
        bins = self.settings.bins
        places = (self.places(self.scores(answers)) * bins).long().clamp(max=bins - 1)
        inlier, outlier = (places[outliers == kind].bincount(minlength=bins) for kind in (INLIER, OUTLIER))
        return inlier, outlier

    def components(self, answers: Tensor, outliers: Tensor, threshold: float) -> Tensor:
        """Return what is kept of the outliers of an image as objects, `[WIDTH]` float64; zeros where nobody says which
        they are.

        Args:
            answers, outliers: as `histograms` has them; what is ignored is never taken for an outlier.
            threshold: from which place on a pixel is taken for one.
        """
        if bool((outliers == UNSAID).any()):
            return torch.zeros(WIDTH, dtype=torch.float64)
        seen = (self.places(self.scores(answers)) >= threshold) & (outliers != IGNORED)
        return torch.from_numpy(component_counts((outliers == OUTLIER).cpu().numpy(), seen.cpu().numpy()))


def rejected_by_all(known: Tensor, temperature: float = 1.0) -> Tensor:
    """Return RbA, − Σ_c tanh L_c, `[…, H, W]`.

    Args:
        known: L `[…, C, H, W]`.
        temperature: of other scores; RbA has none.
    """
    return -known.tanh().sum(-3)


def _msp(known: Tensor, temperature: float) -> Tensor:
    return 1 - (known / temperature).softmax(0).amax(0)


def _max_logit(known: Tensor, temperature: float) -> Tensor:
    return -known.amax(0)


def _entropy(known: Tensor, temperature: float) -> Tensor:
    logs = (known / temperature).log_softmax(0)
    return -(logs.exp() * logs).sum(0)


_SCORES: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "rba": rejected_by_all,
    "msp": _msp,
    "max_logit": _max_logit,
    "entropy": _entropy,
}


def outlier_map(one: LabelledImage) -> ClassPixels:
    """Return what is said of the pixels of an image, `[H, W]`: INLIER, OUTLIER or IGNORED; or that nobody says, UNSAID,
    of those that have a class.

    Args:
        one: image and map.
    """
    found = np.where(one.inliers(), INLIER if one.outlier is not None else UNSAID, IGNORED).astype(np.uint8)
    if one.outlier is not None:
        found[one.outlier] = OUTLIER
    return found
