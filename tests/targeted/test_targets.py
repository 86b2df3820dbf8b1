"""Label sets and numbers before any run: losses, thresholds, units, and what the loop is promised."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reference import targets as slow

from plora.errors import DataError, RunError
from plora.heads import LinearHead, RidgeHead, in_units
from plora.problems.multi_label import MultiLabelTexts, best_threshold
from plora.problems.regression import TextRegression, deviations
from plora.problems.settings import (
    ClassificationLoss,
    MultiLabelImageSettings,
    MultiLabelTextSettings,
    TextRegressionSettings,
)
from plora.problems.targeted import TargetedExamples
from plora.streams import LabelSets, Numbers, Stream, Task
from plora.streams.base import Texts
from plora.testing import check_problem
from plora.testing.tiny import tiny_network, tiny_texts, tiny_tokenizer

TEXTS = Texts(tuple(text for text, _ in tiny_texts(6)), np.zeros(6, np.int64))
SETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 1, 0]], np.float64)
AMOUNTS = np.array([[1000.0, 0.1], [1100, 0.2], [1300, 0.1], [900, 0.4], [1000, 0.3], [1200, 0.2]])
EVERYTHING = np.arange(6)


def problem(kind: type[Any]) -> Any:  # noqa: ANN401  (a class of the two)
    return kind(tiny_tokenizer(), 16, "mean")


@pytest.mark.parametrize(
    ("kind", "split"), [(MultiLabelTexts, LabelSets(TEXTS, SETS)), (TextRegression, Numbers(TEXTS, AMOUNTS))]
)
def test_the_loop_gets_what_it_is_promised(kind: type[Any], split: LabelSets | Numbers) -> None:
    check_problem(problem(kind), split, tiny_network())


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_the_loss_of_labels_knows_those_of_their_own_task_alone(gamma: float, beta: float) -> None:
    """A task of three labels and one of two: each example is compared with its own, whatever the other rows say."""
    made = problem(MultiLabelTexts)
    made.loss = ClassificationLoss(gamma=gamma, beta=beta)
    first, second = made.encode(LabelSets(TEXTS, SETS), 0), made.encode(LabelSets(TEXTS, SETS[:, 1:]), 3)
    both = first.followed_by([second])
    batch = made.restored(both.tensors()).subset(np.array([1, 7, 10])).collate(np.arange(3))
    scores = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found = made.losses({"scores": scores}, batch, torch.ones(5, 5, dtype=torch.bool))["binary_cross_entropy"]
    weights = made.counts_of(SETS), made.counts_of(SETS[:, 1:])
    rows = [(0, 0, SETS[1], weights[0]), (1, 3, SETS[1, 1:], weights[1]), (2, 3, SETS[4, 1:], weights[1])]
    expected = sum(
        slow.label_loss(scores[i, start + c].item(), truth[c] == 1, weight[c], gamma)
        for i, start, truth, weight in rows
        for c in range(len(truth))
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert batch.weights == {"binary_cross_entropy": 3 + 2 + 2}
    assert (weights[0][0] < weights[0][2]) == bool(beta)  # four examples have the first label, one the last
    found.backward()
    assert scores.grad is not None
    assert not scores.grad[0, 3:].any()
    assert not scores.grad[1:, :3].any()


def test_labels_weigh_what_is_said_of_them_by_name() -> None:
    made = problem(MultiLabelTexts)
    made.loss = ClassificationLoss(class_weights={"b": 3.0})
    found = made.weighed(made.encode(LabelSets(TEXTS, SETS), 0), ("a", "b", "c"), 0)
    assert isinstance(found, TargetedExamples)
    assert (found.counts == [1, 3, 1]).all()


@pytest.mark.parametrize("seed", range(30))
def test_thresholds_are_the_best_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=12), seed % 2)  # with ties, and without
    truth = rng.random(12) < 0.4
    found = best_threshold(truth, scores)
    assert found == pytest.approx(slow.threshold(truth.tolist(), scores.tolist()))
    f1 = slow.f1(truth.tolist(), (scores >= found).tolist())
    assert all(f1 >= slow.f1(truth.tolist(), (scores >= t).tolist()) for t in np.linspace(-4, 4, 200))


def test_validation_moves_the_threshold_to_0() -> None:
    made = problem(MultiLabelTexts)
    examples = made.encode(LabelSets(TEXTS, SETS))
    head = in_units(LinearHead)(4)
    head.open("a", 3, torch.Generator().manual_seed(0))
    head.commit()
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    before, hashed = head(features), head.block_hash("a")
    made.settled(head, "a", lambda: head(features), examples)
    after = head(features)
    shift = before - after
    assert torch.allclose(shift, shift[:1].expand(6, 3), atol=1e-6)  # one threshold for each label
    assert head.block_hash("a") != hashed
    f1 = [slow.f1((SETS[:, c] == 1).tolist(), (after[:, c] >= 0).tolist()) for c in range(3)]
    at_0 = [slow.f1((SETS[:, c] == 1).tolist(), (before[:, c] >= 0).tolist()) for c in range(3)]
    assert sum(f1) > sum(at_0)
    told = made.told(after, np.ones(3, np.bool_), ("x", "y", "z"), 3)
    assert [{name for name, _ in own} for own in told] == [
        {name for c, name in enumerate("xyz") if after[i, c] >= 0} for i in range(6)
    ]
    assert all(p >= 0.5 for own in told for _, p in own)


def test_numbers_are_learned_without_their_unit_and_told_in_it() -> None:
    made = problem(TextRegression)
    examples = made.encode(Numbers(TEXTS, AMOUNTS), 0)
    head = in_units(LinearHead)(4)
    head.open("a", 2, torch.Generator().manual_seed(0))
    made.opened(head, "a", examples)
    scores = head(torch.zeros(6, 4))
    assert scores[0].tolist() == pytest.approx(AMOUNTS.mean(0).tolist())  # a head that knows nothing says the mean
    batch = examples.collate(EVERYTHING)
    loss = made.losses({"scores": scores}, batch, torch.ones(2, 2, dtype=torch.bool))["squared_error"]
    expected = sum(
        slow.number_loss(scores[i, c].item(), AMOUNTS[i, c], AMOUNTS[:, c].tolist()) for i in range(6) for c in range(2)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert loss.item() / batch.weights["squared_error"] == pytest.approx(1, rel=1e-4)  # whatever the unit
    assert made.told(scores[:1], np.ones(2, np.bool_), ("price", "rain"), 1)[0] == [
        ("price", pytest.approx(AMOUNTS[:, 0].mean())),
        ("rain", pytest.approx(AMOUNTS[:, 1].mean())),
    ]
    same = made.encode(Numbers(TEXTS, np.full((6, 1), 5.0)))
    assert same.counts.tolist() == [[1.0]] * 6  # nothing to divide by


@pytest.mark.parametrize("kind", [LinearHead, RidgeHead])
def test_units_are_kept_with_the_rows(kind: type[Any]) -> None:
    head, features = in_units(kind)(4), torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    for number, block in enumerate(("a", "b")):
        head.open(block, 2, torch.Generator().manual_seed(number))
        head.units[block] = torch.tensor([[10.0, 0.1], [100 * (number + 1.0), -3], [0, 0]], dtype=torch.float64)
        if kind is RidgeHead:
            values = features[:, :2].double() * torch.tensor([7.0, 0.3]) + torch.tensor([90.0, -3])
            head.fit(block, features, values, features, values)
            assert (head.block_scores(features, block).double() - values).abs().max() < 1e-4
    head.commit()
    fresh = in_units(kind)(4)
    fresh.restore(head.blocks, head.tensors())
    assert torch.equal(fresh(features), head(features))
    assert torch.equal(fresh.block_scores(features, "b"), head(features)[:, 2:])
    assert fresh.block_hash("b") == head.block_hash("b")
    parts = {key: tensor for key, tensor in head.tensors().items() if not key.startswith("0:")}
    fresh.restore(head.blocks, parts)  # the first task was forgotten
    assert torch.equal(fresh.block_scores(features, "b"), head.block_scores(features, "b"))
    with pytest.raises(RunError, match="no unit of the 2 rows for 'b'"):
        fresh.restore(head.blocks, {key: t for key, t in head.tensors().items() if key != "1:unit"})
    stand_in = head.stand_in() if kind is RidgeHead else None
    assert stand_in is None or torch.equal(stand_in.units["a"], head.units["a"])


def test_a_head_that_is_solved_again_knows_nothing_of_thresholds() -> None:
    """Two tasks with the same rows: the sums of the second add to those of the first, whatever threshold that got."""
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    labels = (features[:, :2] > 0.2).double()
    heads = [in_units(RidgeHead)(4) for _ in range(2)]
    for head, threshold in zip(heads, (0.0, 5.0), strict=True):
        head.open("a", 2, torch.Generator())
        head.fit("a", features[:20], labels[:20], features[:20], labels[:20])  # type: ignore[operator]
        head.units["a"][2] = threshold
        head.fit("a", features[20:], labels[20:], features[20:], labels[20:])  # type: ignore[operator]
    assert torch.allclose(heads[0](features) - heads[1](features), torch.full((40, 2), 5.0))


def test_splits_of_another_kind_are_refused() -> None:
    labelled = LabelSets(TEXTS, SETS)
    stream = Stream("s", (Task("t", ("x", "y", "z"), labelled, labelled, labelled),), ("task",))
    MultiLabelTextSettings().require(stream)
    with pytest.raises(
        DataError, match="'text_regression' needs texts with numbers, and task 't' of stream 's' has labelsets over te"
    ):
        TextRegressionSettings().require(stream)
    texts = replace(TEXTS, labels=EVERYTHING % 2)
    plain = Task("t", ("x", "y"), texts, texts, texts)
    with pytest.raises(DataError, match=r"has texts; set problem\.kind to what the stream holds"):
        MultiLabelTextSettings().require(replace(stream, tasks=(plain,)))
    with pytest.raises(DataError, match="needs images with label sets, and task 't' of stream 's' has labelsets"):
        MultiLabelImageSettings().require(stream)
    with pytest.raises(DataError, match="input 3: number 2 is nan"):
        Numbers(TEXTS, np.where(np.arange(12).reshape(6, 2) == 5, np.nan, AMOUNTS))
    with pytest.raises(DataError, match="another number was given"):
        LabelSets(TEXTS, SETS * 2)
    with pytest.raises(DataError, match=r"6 inputs have targets of shape \[5, 3\]"):
        LabelSets(TEXTS, SETS[1:])


def test_targets_that_are_all_the_same_have_the_deviation_one() -> None:
    for value in (0.1, 0.3, 72.3):  # of which np.std is a rounding error, and not 0
        assert deviations(np.full((1000, 1), value)).tolist() == [1.0]
    assert deviations(np.array([[0.1, 1.0], [0.1, 3.0]])).tolist() == [1.0, 1.0]


def test_targets_that_fp32_cannot_tell_apart_are_refused_and_equal_ones_are_not() -> None:
    made = problem(TextRegression)
    head = in_units(LinearHead)(4)
    head.open("t", 1, torch.Generator())
    far = np.arange(6.0)[:, None] + 1e9
    with pytest.raises(DataError, match=r"targets lie 1\.7.* around 1e\+09, which fp32 cannot tell apart; subtract"):
        made.opened(head, "t", made.encode(Numbers(TEXTS, far), 0))
    made.opened(head, "t", made.encode(Numbers(TEXTS, np.full((6, 1), 1e9)), 0))
    assert head.units["t"][:2, 0].tolist() == [1.0, 1e9]
