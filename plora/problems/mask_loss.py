"""What queries learn: each true mask is matched to one of them, which learns mask and class; others learn no object."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from plora.problems.arcface import with_margin
from plora.problems.settings import ArcFace


@dataclass(frozen=True)
class Points:
    """Where masks are compared, (x, y) in 0 to 1.

    Args:
        matching: `[P, 2]` for all masks of an image.
        candidates: `[M, K, 2]` of each matched mask, from which the least certain are taken.
        plain: `[M, R, 2]` taken as they are.
    """

    matching: Tensor
    candidates: Tensor
    plain: Tensor


@dataclass(frozen=True)
class MaskLoss:
    """Matching and losses of masks, at points that chance chooses.

        cost of query q for mask m = − w_c p_q(class of m) + w_m BCE + w_d dice, at points for all masks alike
        loss = w_c Σ_q u_q CE_q + Σ_m (w_m mean BCE + w_d dice), at points of which most are those of least |logit|
        dice = 1 − (2 Σ p s + 1) / (Σ p + Σ s + 1)

    with u_q 1 for a matched query and `no_object` for the others, which learn the last class.

    Args:
        class_weight, mask_weight, dice_weight: w_c, w_m, w_d.
        no_object: weight of queries that are matched to nothing.
        points: at which a mask is compared.
        oversample: candidates for each point.
        importance: share of the points that are least certain.
        arcface: of a matched query the logit of its class is that of a wider angle; it is matched by the plain ones.

    Source: Cheng et al. 2022 (Mask2Former, arXiv 2112.01527); `EomtLoss` of transformers.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object: float = 0.1
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75
    arcface: ArcFace | None = None

    @classmethod
    def of(cls, settings: Any, arcface: ArcFace | None = None) -> Self:  # noqa: ANN401  (transformers has no types)
        """Return the loss that a network's configuration describes, with a margin where one is given."""
        return cls(
            settings.class_weight,
            settings.mask_weight,
            settings.dice_weight,
            settings.no_object_weight,
            settings.train_num_points,
            settings.oversample_ratio,
            settings.importance_sample_ratio,
            arcface,
        )

    def weights(self, masks: Sequence[int], queries: int) -> dict[str, float]:
        """Return what images weigh in each loss: Σ u_q, and the number of masks.

        Args:
            masks: `[B]` how many each image has.
            queries: Q.
        """
        matched = [min(number, queries) for number in masks]
        # Where no image of a step has a mask, 0 / 0 would be no number; beside any mask this is nothing in fp32.
        number = float(sum(masks)) or 1e-9
        classes = sum(own + self.no_object * (queries - own) for own in matched)
        return {"class": classes, "mask": number, "dice": number}

    def losses(
        self, masks: Tensor, classes: Tensor, truth: Tensor, labels: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Return the weighted losses of one image, sums over its queries and masks.

        Args:
            masks: logits `[Q, h, w]`.
            classes: logits `[Q, C + 1]`.
            truth: `[M, H, W]` 0 or 1, of any size.
            labels: `[M]` the class of each.
            generator: draws the points, on the device of the masks.
        """
        return self.at(masks, classes, truth, labels, self.draw(min(len(labels), len(masks)), generator))

    def draw(self, matched: int, generator: torch.Generator) -> Points:
        """Draw the points of one image.

        Args:
            matched: masks that are matched, of its M.
            generator: of the device on which they are needed.
        """
        certain, device = int(self.importance * self.points), generator.device
        return Points(
            torch.rand(self.points, 2, generator=generator, device=device),
            torch.rand(matched, int(self.points * self.oversample), 2, generator=generator, device=device),
            torch.rand(matched, self.points - certain, 2, generator=generator, device=device),
        )

    def at(self, masks: Tensor, classes: Tensor, truth: Tensor, labels: Tensor, points: Points) -> dict[str, Tensor]:
        """Return the losses at these points; see `losses`."""
        masks, classes = masks.float(), classes.float()
        rows, columns = self.match(masks, classes, truth, labels, points.matching)
        wanted = torch.full((len(classes),), classes.shape[1] - 1, device=classes.device)
        wanted[rows] = labels[columns]
        if self.arcface is not None and len(rows):
            classes = classes.index_put((rows,), with_margin(classes[rows], labels[columns], self.arcface))
        weight = torch.ones(classes.shape[1], device=classes.device)
        weight[-1] = self.no_object
        found = {"class": self.class_weight * F.cross_entropy(classes, wanted, weight, reduction="sum")}
        if not len(rows):
            return found | {name: masks.new_zeros(()) for name in ("mask", "dice")}
        own, true = masks[rows], truth[columns]
        with torch.no_grad():
            taken = self._least_certain(own, points)
            expected = sampled(true, taken)
        logits = sampled(own, taken)
        bce = F.binary_cross_entropy_with_logits(logits, expected, reduction="none").mean(1)
        p = logits.sigmoid()
        dice = 1 - (2 * (p * expected).sum(1) + 1) / (p.sum(1) + expected.sum(1) + 1)
        return found | {"mask": self.mask_weight * bce.sum(), "dice": self.dice_weight * dice.sum()}

    @torch.no_grad()
    def match(
        self, masks: Tensor, classes: Tensor, truth: Tensor, labels: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which query has which mask, `[min(M, Q)]` each: those of the least cost in all.

        A cost that is no number is as high as any, so that such a query is matched where no other is left.

        Args:
            masks, classes, truth, labels: of an image.
            points: `[P, 2]` where masks are compared.
        """
        if not len(labels):
            return labels, labels
        logits, expected = (sampled(maps[None], points[None])[0] for maps in (masks, truth))
        yes, no = F.softplus(-logits), F.softplus(logits)  # BCE where a pixel is of the mask, and where it is not
        bce = (yes @ expected.T + no @ (1 - expected).T) / len(points)
        p = logits.sigmoid()
        dice = 1 - (2 * p @ expected.T + 1) / (p.sum(1)[:, None] + expected.sum(1) + 1)
        chosen = classes.softmax(1)[:, labels]
        cost = self.mask_weight * bce - self.class_weight * chosen + self.dice_weight * dice
        most = torch.finfo(cost.dtype).max
        cost = torch.nan_to_num(cost, nan=most, posinf=most, neginf=most)
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        return torch.from_numpy(rows).to(masks.device), torch.from_numpy(columns).to(masks.device)

    def _least_certain(self, masks: Tensor, points: Points) -> Tensor:
        """`[M, P, 2]` the candidates of least |logit|, and the plain points."""
        certainty = sampled(masks, points.candidates).abs()
        best = certainty.topk(self.points - points.plain.shape[1], dim=1, largest=False).indices
        return torch.cat([points.candidates.gather(1, best[:, :, None].expand(-1, -1, 2)), points.plain], dim=1)


def sampled(maps: Tensor, points: Tensor) -> Tensor:
    """Return maps between their pixels, bilinearly, 0 beyond them.

    Args:
        maps: `[M, h, w]`, or `[1, N, h, w]` to read N maps at the same points.
        points: `[M, P, 2]`, (x, y) in 0 to 1.

    Returns:
        `[M, P]`, or `[1, N, P]`.
    """
    several = maps.dim() == 4
    read = F.grid_sample(maps if several else maps[:, None], 2 * points[:, :, None] - 1, align_corners=False)[..., 0]
    return read if several else read[:, 0]
