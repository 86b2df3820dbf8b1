"""The router: the nearest class by Mahalanobis distance names the task."""

import numpy as np
import pytest
import torch
from reference.router import nearest_tasks

from plora.errors import RunError, UnknownTaskError
from plora.gates import Router
from plora.gates.router import SHRINKAGE


def examples(seed: int, centres: list[list[float]], number: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes around given centres, at one depth of two dimensions, far wider along the first than the second."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(centres)).repeat_interleave(number)
    noise = torch.randn(len(rows), 2, generator=generator) * torch.tensor([5.0, 0.2])
    return (torch.tensor(centres)[rows] + noise)[:, None], rows


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
    points = torch.randn(200, 1, 2, generator=torch.Generator().manual_seed(2)) * 4
    assert router.choose(points).tolist() == nearest_tasks(slow(*TASKS), points.double().numpy(), SHRINKAGE)


@pytest.mark.parametrize("seed", range(6))
def test_random_tasks_against_the_loop(seed: int) -> None:
    """One to three depths, one to three classes per task of one to nine examples, sometimes fewer than features."""
    rng = np.random.default_rng(seed)
    width, depths, tasks, router = int(rng.integers(1, 9)), 1 + seed % 3, [], Router()
    spread = torch.from_numpy(rng.normal(size=(depths, width, width))).float()
    for position in range(int(rng.integers(2, 5))):
        sizes = rng.integers(2 if position == 0 else 1, 10, size=int(rng.integers(1, 4)))  # one alone has no variance
        rows = torch.from_numpy(rng.permutation(np.repeat(rng.permutation(6)[: len(sizes)], sizes)))
        centres = torch.from_numpy(rng.normal(size=(6, depths, width))).float()
        noise = torch.from_numpy(rng.normal(size=(len(rows), depths, width))).float()
        features = centres[rows] + torch.einsum("nli,lij->nlj", noise, spread)
        tasks.append((features, rows))
        router.learn(position, features, rows)  # tasks may share rows
    points = torch.from_numpy(rng.normal(0, 3, (150, depths, width))).float()
    expected = nearest_tasks(slow(*tasks), points.double().numpy(), SHRINKAGE)
    assert router.choose(points).tolist() == expected
    assert len(set(expected)) > 1


def test_the_covariance_matters() -> None:
    """Along the wide direction a plain nearest mean is misled, and this one is not."""
    router = learned()
    features, _ = TASKS[0]
    means = torch.stack([f[r == c].mean(0) for f, r in TASKS for c in r.unique()])
    plain = torch.tensor([0, 0, 1, 1, 1])[torch.cdist(features[:, 0], means[:, 0]).argmin(1)]
    own = (router.choose(features) == 0).float().mean()
    assert own > 0.95
    assert (plain == 0).float().mean() < 0.8


def test_the_order_of_the_tasks_does_not_matter() -> None:
    one, two = learned(), Router()
    for position in (1, 0):
        features, rows = TASKS[position]
        two.learn(position, features, rows)
    points = torch.randn(100, 1, 2, generator=torch.Generator().manual_seed(3)) * 4
    assert torch.equal(one.choose(points), two.choose(points))


def test_what_it_keeps_are_sums() -> None:
    router = learned()
    state = router.state()
    assert {name: tuple(t.shape) for name, t in state.items()} == {
        "owners": (5,),
        "counts": (5,),
        "sums": (5, 1, 2),
        "gram": (1, 2, 2),
    }
    other = Router()
    other.restore(state)
    points = torch.randn(50, 1, 2)
    assert torch.equal(other.choose(points), router.choose(points))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda s: s.pop("gram"), "the stored router has no gram"),
        (lambda s: s.update(counts=torch.ones(3)), "do not fit each other"),
        (lambda s: s.update(sums=s["sums"][:, 0], gram=s["gram"][0]), "an older version of plora"),
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


def test_a_depth_that_tells_tasks_apart_is_enough() -> None:
    """At the first depth tasks differ, at the second they do not; either alone, or both, as the router gets them."""
    apart = [examples(2, [[0.0, 0.0]]), examples(3, [[0.0, 4.0]])]
    alike = [examples(4, [[0.0, 0.0]]), examples(5, [[0.0, 0.0]])]
    right = {}
    for name, depths in {"apart": (apart,), "alike": (alike,), "both": (apart, alike)}.items():
        router = Router()
        features = [torch.cat([depth[task][0] for depth in depths], 1) for task in range(2)]
        for position in range(2):
            router.learn(position, features[position], apart[position][1])
        right[name] = np.mean([(router.choose(features[task]) == task).float().mean() for task in range(2)])
    assert right["apart"] == right["both"] == 1
    assert right["alike"] < 0.7


@pytest.mark.parametrize("jitter", [0.0, 1e-7])
def test_a_depth_that_is_the_same_for_all_inputs_says_nothing(jitter: float) -> None:
    """The first token enters the first block the same in every text, up to rounding: no direction of it may count."""
    generator = torch.Generator().manual_seed(0)
    constant = torch.randn(16, generator=generator) * 3

    def texts(centre: float) -> torch.Tensor:
        told = torch.randn(1000, 16, generator=generator) + torch.eye(16)[0] * centre
        return torch.stack([constant + jitter * 3 * torch.randn(1000, 16, generator=generator), told], 1)

    tasks = [texts(0.0), texts(8.0)]
    both, alone = Router(), Router()
    for position, features in enumerate(tasks):
        both.learn(position, features, torch.zeros(1000, dtype=torch.long))
        alone.learn(position, features[:, 1:], torch.zeros(1000, dtype=torch.long))
    for features in tasks:
        assert torch.equal(both.choose(features), alone.choose(features[:, 1:]))


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(RunError, match="at 1 depths of 2 numbers, and this network gives 2 of 2"):
        learned().choose(torch.zeros(4, 2, 2))
