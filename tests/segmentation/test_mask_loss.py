"""Matching and losses of masks, against those of transformers at the same points; and what is odd."""

from collections.abc import Iterator

import pytest
import torch
import transformers
from torch import Tensor
from transformers import EomtConfig
from transformers.models.eomt.modeling_eomt import EomtLoss

from plora.problems.mask_annealing import shares_masked
from plora.problems.mask_loss import MaskLoss, Points

Q, C = 5, 4
PINNED = "5."
"""Version of transformers that the golden cases were made with."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def case(seed: int, masks: list[int], height: int, width: int) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Logits of masks and classes, true masks and their labels, of images with so many masks each."""
    g = generator(seed)
    logits = 4 * torch.randn(len(masks), Q, 8, 9, generator=g)
    classes = 2 * torch.randn(len(masks), Q, C + 1, generator=g)
    truth = [(torch.rand(M, height, width, generator=g) > 0.6).float() for M in masks]
    labels = [torch.randint(0, C, (M,), generator=g) for M in masks]
    return logits, classes, truth, labels


def reference(
    loss: MaskLoss,
    points: list[Points],
    given: tuple[Tensor, Tensor, list[Tensor], list[Tensor]],
    patch: pytest.MonkeyPatch,
) -> dict[str, Tensor]:
    """Losses of transformers, whose random numbers are these points."""
    config = EomtConfig(
        id2label=dict(enumerate("abcd")),
        train_num_points=loss.points,
        oversample_ratio=loss.oversample,
        importance_sample_ratio=loss.importance,
        no_object_weight=loss.no_object,
    )
    weights = {"loss_cross_entropy": loss.class_weight, "loss_mask": loss.mask_weight, "loss_dice": loss.dice_weight}
    criterion = EomtLoss(config, weights)

    def drawn() -> Iterator[Tensor]:
        yield from (one.matching[None] for one in points)
        yield torch.cat([one.candidates for one in points])
        yield torch.cat([one.plain for one in points])

    numbers = drawn()
    with patch.context() as patched:
        patched.setattr(torch, "rand", lambda *_, **__: next(numbers))
        found = criterion(given[0], given[1], given[2], given[3])
    return {name: weights[name] * value for name, value in found.items()}


CASES = {
    "several": ([2, 3, 1], 16, 16),
    "odd sizes": ([3, 2], 13, 31),
    "an image without masks": ([0, 2, 0], 10, 12),
    "one mask": ([1], 8, 9),
    "more masks than queries": ([7, 2], 12, 12),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_losses_are_those_of_transformers(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert transformers.__version__.startswith(PINNED)
    masks, height, width = CASES[name]
    loss, given = MaskLoss(points=50), case(seed, masks, height, width)
    points = [loss.draw(min(M, Q), generator(10 * seed + image)) for image, M in enumerate(masks)]
    expected = reference(loss, points, given, monkeypatch)
    images = zip(*given, points, strict=True)
    parts = [loss.at(*one) for one in images]
    weights = loss.weights(masks, Q)
    for own, theirs in (("class", "cross_entropy"), ("mask", "mask"), ("dice", "dice")):
        found = torch.stack([part[own] for part in parts]).sum() / weights[own]
        torch.testing.assert_close(found, expected[f"loss_{theirs}"], rtol=1e-5, atol=1e-6)


def test_weights_of_parts_add_up_and_nothing_weighs_nothing() -> None:
    loss = MaskLoss()
    whole, first, second = (loss.weights(masks, Q) for masks in ([2, 7, 0], [2], [7, 0]))
    assert whole == pytest.approx({name: first[name] + second[name] for name in whole})
    empty = loss.weights([0, 0], Q)
    assert empty["class"] == pytest.approx(2 * Q * 0.1)
    assert torch.zeros(()) / empty["mask"] == 0


def test_a_query_whose_cost_is_no_number_is_matched_last() -> None:
    loss, (logits, classes, truth, labels) = MaskLoss(points=40), case(0, [3], 12, 12)
    masks, own = logits[0].clone(), classes[0]
    masks[1], masks[3] = float("nan"), float("inf")
    points = loss.draw(3, generator(0)).matching
    rows, columns = loss.match(masks, own, truth[0], labels[0], points)
    assert sorted(rows.tolist()) == [0, 2, 4]
    assert sorted(columns.tolist()) == [0, 1, 2]
    every = loss.match(torch.full_like(masks, float("nan")), own, truth[0], labels[0], points)
    assert len(every[0]) == 3


def test_without_masks_every_query_learns_no_object() -> None:
    loss, (logits, classes, truth, labels) = MaskLoss(points=40), case(0, [0], 12, 12)
    classes.requires_grad_()
    found = loss.losses(logits[0], classes[0], truth[0], labels[0], generator(0))
    assert (found["mask"], found["dice"]) == (0, 0)
    (gradient,) = torch.autograd.grad(found["class"], classes)
    assert (gradient[..., -1] < 0).all()


def test_points_are_those_of_the_least_certain() -> None:
    """Half a mask is certain, the other is not: with importance 1 all points lie in the uncertain half."""
    loss = MaskLoss(points=30, oversample=4.0, importance=1.0)
    mask = torch.full((1, 8, 8), 9.0)
    mask[..., 4:] = 0.1
    points = loss.draw(1, generator(0))
    assert points.plain.shape == (1, 0, 2)
    chosen = loss._least_certain(mask, points)
    assert (chosen[..., 0] > 0.4).all()
    assert (points.candidates[..., 0] < 0.4).any()


def test_the_share_of_masked_queries_falls_block_by_block() -> None:
    """start_i = (i + 1) / 6 and end_i = (i + 2) / 6 of four blocks, as published: 3,317 of 19,902 steps for each."""
    for block in range(4):
        start, end = (block + 1) / 6, (block + 2) / 6
        assert shares_masked(start, 4)[block] == pytest.approx(1)
        assert shares_masked(end, 4)[block] == pytest.approx(0, abs=1e-9)
        assert shares_masked((start + end) / 2, 4)[block] == pytest.approx(0.5**0.9)
    assert shares_masked(0, 3) == (1, 1, 1)
    assert shares_masked(1, 3) == (0, 0, 0)
    assert shares_masked(2.5 / 6, 3) == pytest.approx((0, 1, 1))  # of three blocks the second begins here
    assert shares_masked(0.25, 1) == pytest.approx((0.5**0.9,))
