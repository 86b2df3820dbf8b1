"""Closed-form heads against the same computation over all examples at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference.closed_form import best_ridge, cosine_to_means, klda_scores, ranpac_weights, spread_projector
from torch import Tensor

from plora.errors import RunError
from plora.heads import (
    HEADS,
    ClosedFormHead,
    KLDAHead,
    NCMHead,
    RanPACHead,
    RidgeHead,
    SpreadHead,
    klda,
    random_features,
    ridge,
)
from plora.heads.spread import apart

D = 5
KINDS = [NCMHead, RidgeHead, RanPACHead, KLDAHead, SpreadHead]
Task = tuple[str, int, Tensor, Tensor, Tensor, Tensor]  # name, classes, train x, train y, val x, val y


def make_tasks(classes: tuple[int, ...], seed: int = 0) -> list[Task]:
    generator = torch.Generator().manual_seed(seed)
    tasks = []
    for number, count in enumerate(classes):
        means = torch.randn(count, D, generator=generator)

        def examples(each: int, means: Tensor = means, count: int = count) -> tuple[Tensor, Tensor]:
            y = torch.arange(count).repeat(each)
            return means[y] + 0.5 * torch.randn(len(y), D, generator=generator), y

        tasks.append((f"task{number}", count, *examples(8), *examples(4)))
    return tasks


def fit(head: ClosedFormHead, tasks: list[Task]) -> ClosedFormHead:
    for name, count, *split in tasks:
        head.open(name, count, torch.Generator())
        head.fit(name, *split)
    return head


def offsets(tasks: list[Task]) -> list[int]:
    return [sum(task[1] for task in tasks[:i]) for i in range(len(tasks))]


def joined(tasks: list[Task]) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    x = torch.cat([task[2] for task in tasks]).double().numpy()
    y = torch.cat([task[3] + start for task, start in zip(tasks, offsets(tasks), strict=True)]).numpy()
    return x, y, sum(task[1] for task in tasks)


def temperatures(head: ClosedFormHead) -> list[float]:
    return [value.item() for name, value in head.tensors().items() if name.endswith("temperature")]


classes_per_task = st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 10_000)


@given(classes_per_task, seeds)
@settings(max_examples=20)
def test_pooled_means(classes: tuple[int, ...], seed: int) -> None:
    tasks = make_tasks(classes, seed)
    head = fit(NCMHead(D, pooled=True), tasks)
    x = torch.randn(7, D)
    expected = cosine_to_means(x.double().numpy(), *joined(tasks))
    np.testing.assert_allclose(head(x).numpy() * temperatures(head)[0], expected, rtol=1e-5, atol=1e-6)


@given(classes_per_task, seeds)
@settings(max_examples=20)
def test_pooled_ridge(classes: tuple[int, ...], seed: int) -> None:
    """Weights of all classes over all tasks' examples; λ from the last task's validation split."""
    tasks = make_tasks(classes, seed)
    head = fit(RidgeHead(D, pooled=True), tasks)
    x, y, count = joined(tasks)
    val = tasks[-1][4].double().numpy(), (tasks[-1][5] + offsets(tasks)[-1]).numpy()
    _, W = best_ridge((x, y), val, count)
    np.testing.assert_allclose(head.tensors()["0:weight"].numpy(), W, rtol=1e-6, atol=1e-8)
    design = torch.nn.functional.pad(tasks[0][4].double(), (0, 1), value=1.0).numpy()
    scores = head(tasks[0][4]).numpy() * temperatures(head)[0]
    np.testing.assert_allclose(scores, design @ W.T, rtol=1e-5, atol=1e-6)


@given(classes_per_task, seeds)
@settings(max_examples=15)
def test_separate_blocks_know_nothing_of_each_other(classes: tuple[int, ...], seed: int) -> None:
    tasks = make_tasks(classes, seed)
    x = torch.randn(7, D)
    for kind in (NCMHead, RidgeHead):
        together = fit(kind(D, pooled=False), tasks)
        alone = [fit(kind(D, pooled=False), [task])(x) for task in tasks]
        assert torch.equal(together(x), torch.cat(alone, dim=1))
        for task, scores in zip(tasks, alone, strict=True):
            pooled = fit(kind(D, pooled=True), [task])
            assert torch.equal(pooled(x), scores)  # one block competes with itself


def test_the_order_of_tasks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums do not know the order; only λ and the temperature come from the last task's validation split."""
    monkeypatch.setattr(ridge, "RIDGE_GRID", (0.1,))
    tasks = make_tasks((2, 3, 4))
    x = torch.randn(7, D)
    for kind in (NCMHead, RidgeHead):
        scores = []
        for order in ((0, 1, 2), (2, 0, 1)):
            chosen = [tasks[i] for i in order]
            head = fit(kind(D, pooled=True), chosen)
            rows = torch.cat([torch.arange(9)[head.slice_of(f"task{i}")] for i in range(3)])
            scores.append(head(x)[:, rows] * temperatures(head)[0])
        torch.testing.assert_close(scores[0], scores[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [NCMHead, RidgeHead, RanPACHead, SpreadHead])  # σ of KLDA is that of the first part
@pytest.mark.parametrize("pooled", [True, False])
def test_one_block_in_several_parts(kind: type[ClosedFormHead], pooled: bool) -> None:
    """Domain-incremental: the same block is fitted again with more examples."""
    [(name, count, x, y, val_x, val_y)] = make_tasks((3,))
    at_once = fit(kind(D, pooled), [(name, count, x, y, val_x, val_y)])
    parts = kind(D, pooled)
    for half in (slice(0, 11), slice(11, None)):
        parts.open(name, count, torch.Generator())
        parts.fit(name, x[half], y[half], val_x, val_y)
    assert parts.blocks == {name: count}
    torch.testing.assert_close(parts(val_x), at_once(val_x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_are_not_fitted_score_zero(kind: type[ClosedFormHead]) -> None:
    tasks = make_tasks((2, 3))
    for pooled in (True, False):
        head = fit(kind(D, pooled), tasks[:1])
        before = head(tasks[0][4])
        assert list(head.parameters()) == []
        head.open("later", 3, torch.Generator())
        assert torch.equal(head(tasks[0][4]), torch.nn.functional.pad(before, (0, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_is_the_best_of_its_grid(kind: type[ClosedFormHead]) -> None:
    [task] = make_tasks((4,))
    head = fit(kind(D, True), [task])
    chosen = temperatures(head)[0]
    scores = head(task[4]).double() * chosen
    loss = {t: torch.nn.functional.cross_entropy(scores / t, task[5]).item() for t in np.logspace(-3, 1, 41)}
    assert chosen == pytest.approx(min(loss, key=lambda t: loss[t]), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooled", [True, False])
def test_restoring_is_exact_and_can_go_on(kind: type[ClosedFormHead], pooled: bool) -> None:
    tasks = make_tasks((2, 3, 2))
    head = fit(kind(D, pooled), tasks[:2])
    other = kind(D, pooled)
    other.restore(head.blocks, {name: tensor.clone() for name, tensor in head.tensors().items()})
    x = torch.randn(6, D)
    assert torch.equal(other(x), head(x))
    for block in head.blocks:
        assert other.block_hash(block) == head.block_hash(block)
    fit(head, tasks[2:])
    fit(other, tasks[2:])
    assert torch.equal(other(x), head(x))
    empty = kind(D, pooled)
    empty.open("a", 2, torch.Generator())
    other.restore(empty.blocks, empty.tensors())
    assert not other(x).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooled", [True, False])
def test_damaged_tensors_are_refused(kind: type[ClosedFormHead], pooled: bool) -> None:
    head = fit(kind(D, pooled), make_tasks((2, 3)))
    whole = head.tensors()
    own = {NCMHead: 3, RidgeHead: 4, RanPACHead: 4, KLDAHead: 5, SpreadHead: 7}[kind]
    assert len(whole) == (1 if pooled else 2) * own + (kind not in (NCMHead, RidgeHead))
    for key, tensor in whole.items():
        for value in (None, tensor[..., None], tensor[..., :-1] if tensor.dim() else tensor.expand(2)):
            state = {name: stored for name, stored in whole.items() if name != key}
            if value is not None:
                state[key] = value
            with pytest.raises(RunError, match=f"the stored head's tensor '{key}' is "):
                kind(D, pooled).restore(head.blocks, state)
    for unknown in ("7:cross", "cross", "x:cross"):
        with pytest.raises(RunError, match=f"unknown tensor '{unknown}'"):
            kind(D, pooled).restore(head.blocks, whole | {unknown: torch.ones(1)})


@pytest.mark.parametrize("kind", KINDS)
def test_hashes_change_with_content_alone(kind: type[ClosedFormHead]) -> None:
    tasks = make_tasks((2, 3))
    for pooled in (True, False):
        head = fit(kind(D, pooled), tasks[:1])
        before = head.block_hash("task0")
        assert fit(kind(D, pooled), tasks[:1]).block_hash("task0") == before
        head.commit()
        assert head.block_hash("task0") == before
        fit(head, tasks[1:])
        assert (head.block_hash("task0") == before) is not pooled  # pooled blocks compete


def test_the_table() -> None:
    for name, kind in (("ncm", NCMHead), ("ridge", RidgeHead)):
        for pooled in (True, False):
            head = HEADS[name](D, pooled)
            assert type(head) is kind
            assert isinstance(head, ClosedFormHead)
            assert (head.features, head.pooled) == (D, pooled)
    assert HEADS["linear"](D, True).features == D


@pytest.fixture(autouse=True)
def _few_random_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 columns are for networks; here 40 show the same."""
    monkeypatch.setattr(random_features, "RANDOM_FEATURES", 40)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ranpac_has_the_weights_of_all_examples_at_once_in_any_order(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "RIDGE_GRID", (0.1,))
    tasks = make_tasks((2, 3, 2), seed)
    head = fit(RanPACHead(D, pooled=True), tasks)
    x, y, classes = joined(tasks)
    assert isinstance(head, RanPACHead)
    expected = ranpac_weights(x, y, classes, head.projection.double().numpy(), 0.1)
    np.testing.assert_allclose(head.tensors()["0:weight"].numpy(), expected, rtol=1e-6, atol=1e-6)
    order = [2, 0, 1]
    other = fit(RanPACHead(D, pooled=True), [tasks[k] for k in order])
    rows = np.concatenate([np.arange(tasks[k][1]) + offsets(tasks)[k] for k in order])
    np.testing.assert_allclose(other.tensors()["0:weight"].numpy(), expected[rows], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_klda_is_linear_discriminant_analysis_of_all_examples_at_once_in_any_order(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(klda, "SHRINKAGES", (0.1,))
    tasks = make_tasks((2, 3, 2))
    x, y, _ = joined(tasks)
    head = KLDAHead(D, pooled=True)
    for name, count, *split in (tasks[k] for k in order):
        head.open(name, count, torch.Generator())
        head.fit(name, *split)
    sigma = float(head.tensors()["0:bandwidth"])
    first = tasks[order[0]][2].double().numpy()
    apart = sorted(np.linalg.norm(a - b) for i, a in enumerate(first) for b in first[:i])
    assert sigma == pytest.approx(apart[(len(apart) - 1) // 2], rel=1e-6)
    new = torch.randn(6, D)
    expected = klda_scores(new.double().numpy(), x, y, head.projection.double().numpy(), sigma, 0.1)
    rows = np.concatenate([np.arange(tasks[k][1]) + offsets(tasks)[k] for k in order])
    np.testing.assert_allclose(head(new).numpy() * temperatures(head)[0], expected[:, rows], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_spread_means_are_what_all_examples_at_once_are_projected_to_in_any_order(
    order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "RIDGE_GRID", (0.1,))
    tasks = make_tasks((2, 3, 2))
    x, y, _ = joined(tasks)
    head = SpreadHead(D, pooled=True)
    for name, count, *split in (tasks[k] for k in order):
        head.open(name, count, torch.Generator())
        head.fit(name, *split)
    expected = spread_projector(x, y, head.projection.double().numpy(), 0.1)
    np.testing.assert_allclose(head.tensors()["0:projector"].numpy(), expected, rtol=1e-6, atol=1e-7)


def test_targets_of_few_classes_are_equally_far_apart() -> None:
    """Two classes that nearly coincide and one far away: an equilateral triangle."""
    means = torch.zeros(4, D, dtype=torch.float64)
    means[0, 0], means[1, 0], means[1, 1], means[3, 2] = 1.0, 1.0, 0.01, 9.0
    targets = apart(means, [0, 1, 3])
    assert not targets[2].any()  # a class without examples
    distances = torch.pdist(targets[[0, 1, 3]])
    torch.testing.assert_close(distances, torch.full_like(distances, 2**0.5))


def test_random_features_tell_apart_what_a_line_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_features, "RANDOM_FEATURES", 400)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1000, D, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()  # four quadrants of two classes
    share = {}
    for kind in (RidgeHead, RanPACHead, KLDAHead):
        head = kind(D, pooled=True)
        head.open("a", 2, torch.Generator())
        head.fit("a", x[:700], y[:700], x[700:800], y[700:800])
        share[kind] = float((head(x[800:]).argmax(1) == y[800:]).float().mean())
    assert share[RidgeHead] < 0.65
    assert share[RanPACHead] > 0.8
    assert share[KLDAHead] > 0.8
