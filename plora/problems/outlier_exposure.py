"""Outlier exposure: objects that are pasted into training images, where no class may claim a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plora.problems.outlier_scores import INLIER, OUTLIER, UNSAID, rejected_by_all
from plora.problems.settings import OutlierExposure
from plora.streams.cutouts import Cutouts
from plora.streams.labelled_images import LabelledImage
from plora.streams.pasting import paste_outlier

_NONE = 1e-9
"""What a loss weighs in which no pixel counts: beside any pixel, nothing in fp32."""


@dataclass(frozen=True)
class Exposure:
    """Objects that are pasted, and what is learned of them.

        ½ w (mean over inliers of max(s − u, 0)² + mean over outliers of max(l − s, 0)²),   s = − Σ_c tanh L_c

    Args:
        settings: how many, with which weight w, and the bounds u and l.
        cutouts: the objects.

    Source: Nayal et al. 2023 (RbA, arXiv 2211.14293).
    """

    settings: OutlierExposure
    cutouts: Cutouts

    def pasted(self, one: LabelledImage, draw: int, index: int) -> LabelledImage:
        """Return an image, with an object where its draw and its index say so.

        Args:
            one: image and map.
            draw: 0 or more.
            index: of the image among the examples.
        """
        rng = np.random.default_rng([draw, index, 1])  # paste_outlier has [draw, index] for the place
        if rng.random() >= self.settings.probability:
            return one
        return paste_outlier(one, self.cutouts.cutout(int(rng.integers(len(self.cutouts)))), draw, index)

    def weights(self, outliers: Tensor) -> dict[str, float]:
        """Return how many pixels count in each loss.

        Args:
            outliers: `[R, H, W]` maps of outliers.
        """
        counts = {"exposure_inlier": _inliers(outliers), "exposure_outlier": outliers == OUTLIER}
        return {name: float(chosen.sum()) or _NONE for name, chosen in counts.items()} if self.settings.weight else {}

    def losses(self, known: Sequence[Tensor], outliers: Tensor) -> dict[str, Tensor]:
        """Return `exposure_inlier` and `exposure_outlier`, sums over pixels; neither where the weight is 0.

        Args:
            known: R of L `[C, H, W]`.
            outliers: `[R, H, W]` maps of outliers.
        """
        if not self.settings.weight:
            return {}
        scores = torch.stack([rejected_by_all(one.float()) for one in known])
        sums = {
            "exposure_inlier": (scores - self.settings.inlier).clamp(min=0)[_inliers(outliers)],
            "exposure_outlier": (self.settings.outlier - scores).clamp(min=0)[outliers == OUTLIER],
        }
        return {name: self.settings.weight / 2 * (over**2).sum() for name, over in sums.items()}


def _inliers(outliers: Tensor) -> Tensor:
    return (outliers == INLIER) | (outliers == UNSAID)
