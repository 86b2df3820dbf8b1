"""The router: the nearest class by Mahalanobis distance names the task."""

import numpy as np
import pytest
import torch
from reference.router import nearest_tasks

from plora.errors import RunError, UnknownTaskError
from plora.gates import Router
from plora.gates.router import SHRINKAGE


def examples(seed: int, centres: list[list[float]], number: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes around given centres, in two dimensions, far wider along the first than along the second."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(centres)).repeat_interleave(number)
    noise = torch.randn(len(rows), 2, generator=generator) * torch.tensor([5.0, 0.2])
    return torch.tensor(centres)[rows] + noise, rows


TASKS = [examples(0, [[0.0, 0.0], [0.0, 4.0]]), examples(1, [[3.0, 2.0], [3.0, -2.0], [3.0, 6.0]])]


def slow(*tasks: tuple[torch.Tensor, torch.Tensor]) -> list[tuple[np.ndarray, list[int]]]:
    return [(features.double().numpy(), rows.tolist()) for features, rows in tasks]


def learned() -> Router:
    router = Router()
    for position, (features, rows) in enumerate(TASKS):
        router.learn(position, features, rows + 10 * position)
    return router


def test_equals_distances_computed_from_the_examples() -> None:
    router = learned()
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(2)) * 4
    assert router.choose(points).tolist() == nearest_tasks(slow(*TASKS), points.double().numpy(), SHRINKAGE)


@pytest.mark.parametrize("seed", range(6))
def test_random_tasks_against_the_loop(seed: int) -> None:
    """One to three classes per task of one to nine examples each, sometimes fewer examples than features."""
    rng = np.random.default_rng(seed)
    width, tasks, router = int(rng.integers(1, 9)), [], Router()
    spread = torch.from_numpy(rng.normal(size=(width, width))).float()
    for position in range(int(rng.integers(2, 5))):
        sizes = rng.integers(2 if position == 0 else 1, 10, size=int(rng.integers(1, 4)))  # one alone has no variance
        rows = torch.from_numpy(rng.permutation(np.repeat(rng.permutation(6)[: len(sizes)], sizes)))
        centres = torch.from_numpy(rng.normal(size=(6, width))).float()
        features = centres[rows] + torch.from_numpy(rng.normal(size=(len(rows), width))).float() @ spread
        tasks.append((features, rows))
        router.learn(position, features, rows)  # tasks may share rows
    points = torch.from_numpy(rng.normal(0, 3, (150, width))).float()
    expected = nearest_tasks(slow(*tasks), points.double().numpy(), SHRINKAGE)
    assert router.choose(points).tolist() == expected
    assert len(set(expected)) > 1


def test_the_covariance_matters() -> None:
    """Along the wide direction a plain nearest mean is misled, and this one is not."""
    router = learned()
    features, _ = TASKS[0]
    means = torch.stack([f[r == c].mean(0) for f, r in TASKS for c in r.unique()])
    plain = torch.tensor([0, 0, 1, 1, 1])[torch.cdist(features, means).argmin(1)]
    own = (router.choose(features) == 0).float().mean()
    assert own > 0.95
    assert (plain == 0).float().mean() < 0.8


def test_the_order_of_the_tasks_does_not_matter() -> None:
    one, two = learned(), Router()
    for position in (1, 0):
        features, rows = TASKS[position]
        two.learn(position, features, rows)
    points = torch.randn(100, 2, generator=torch.Generator().manual_seed(3)) * 4
    assert torch.equal(one.choose(points), two.choose(points))


def test_what_it_keeps_are_sums() -> None:
    router = learned()
    state = router.state()
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        "owners": (5,),
        "counts": (5,),
        "sums": (5, 2),
        "gram": (2, 2),
    }
    other = Router()
    other.restore(state)
    points = torch.randn(50, 2)
    assert torch.equal(other.choose(points), router.choose(points))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda s: s.pop("gram"), "the stored router has no gram"),
        (lambda s: s.update(counts=torch.ones(3)), "do not fit each other"),
    ],
)
def test_damaged_sums_are_refused(damage: object, says: str) -> None:
    state = learned().state()
    damage(state)
    with pytest.raises(RunError, match=says):
        Router().restore(state)


def test_routes() -> None:
    router = Router()
    assert router.route(("a", "b"), None).slots == ("a", "b")
    assert router.route(("a", "b"), "b").slots == ("b",)
    assert router.route((), "b").slots == ()
    with pytest.raises(UnknownTaskError, match=r"no slot .c.*; slots: a, b"):
        router.route(("a", "b"), "c")
