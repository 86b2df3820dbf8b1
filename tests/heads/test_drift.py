"""Sums that follow features which moved, against sums of the moved features themselves."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from plora.heads import HEADS, ClosedFormHead, random_features, ridge
from plora.heads.drift import linear_drift

D, CLASSES = 6, 3
SOLVED = ("ncm", "ridge", "ranpac", "klda", "spread")


@pytest.fixture(autouse=True)
def _few_random_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_features, "RANDOM_FEATURES", 60)


def examples(seed: int, number: int = 90) -> tuple[Tensor, Tensor]:
    """Three classes, well apart, around means that the task decides."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(number) % CLASSES
    means = 3 * torch.randn(CLASSES, D, generator=generator)
    return (means[y] + torch.randn(number, D, generator=generator)), y


def moved(features: Tensor) -> Tensor:
    """Another model's features of the same inputs: a turn by 90 degrees, and a step."""
    turned = torch.stack([-features[:, 1], features[:, 0]], dim=1)
    return torch.cat([turned, 0.5 * features[:, 2:]], dim=1) + 2.0


def made(name: str, pooled: bool) -> ClosedFormHead:
    head = HEADS[name](D, pooled)
    assert isinstance(head, ClosedFormHead)
    head.keeps_statistics = True
    return head


def learn(head: ClosedFormHead, block: str, x: Tensor, y: Tensor) -> None:
    head.open(block, CLASSES, torch.Generator())
    head.fit(block, x[:60], y[:60], x[60:], y[60:])


def the_map() -> Tensor:
    """(f, 1) → (moved(f), 1), column by column."""
    units = torch.cat([torch.zeros(1, D), torch.eye(D)])
    images = moved(units).double()
    whole = torch.eye(D + 1, dtype=torch.float64)
    whole[:D, D] = images[0]
    whole[:D, :D] = (images[1:] - images[0]).T
    return whole


def test_the_map_between_two_models_is_found() -> None:
    x, _ = examples(0)
    found = linear_drift(x[:60], moved(x[:60]), x[60:], moved(x[60:]))
    torch.testing.assert_close(found, the_map(), rtol=1e-4, atol=1e-4)


def test_features_stay_where_the_inputs_say_nothing() -> None:
    """A task whose features have no spread in the last direction does not move it."""
    x, _ = examples(0)
    x[:, -1] = 0
    after = x.clone()
    after[:, 0] += 1.0
    found = linear_drift(x[:60], after[:60], x[60:], after[60:])
    probe = torch.tensor([0.0] * (D - 1) + [5.0, 1.0], dtype=torch.float64)
    expected = probe.clone()
    expected[0] = 1.0
    torch.testing.assert_close(found @ probe, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", ["ncm", "ridge"])
def test_sums_of_linear_features_follow_exactly(name: str, pooled: bool) -> None:
    (x, y), (new, labels) = examples(0), examples(1)
    followed, anew = made(name, pooled), made(name, pooled)
    learn(followed, "a", x, y)
    followed.carry(the_map())
    learn(anew, "a", moved(x), y)
    for head in (followed, anew):
        learn(head, "b", new, labels)
    sums = followed.tensors(), anew.tensors()
    for key in [key for key in sums[0] if key.endswith(("cross", "gram", "class_sums", "moments"))]:
        torch.testing.assert_close(sums[0][key], sums[1][key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", SOLVED)
def test_old_classes_are_found_where_their_features_moved_to(name: str, pooled: bool) -> None:
    (x, y), (new, labels) = examples(0), examples(3)
    shares = {}
    for drift in (None, the_map()):
        head = made(name, pooled)
        learn(head, "a", x, y)
        if drift is not None:
            head.carry(drift)
        learn(head, "b", new, labels)
        shares[drift is not None] = float((head(moved(x))[:, head.slice_of("a")].argmax(1) == y).double().mean())
    assert shares[True] > 0.9
    assert shares[True] > shares[False] + 0.2


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("name", SOLVED)
def test_a_head_that_was_restored_follows_with_the_same_bits(name: str, pooled: bool) -> None:
    x, y = examples(0)
    head, other = made(name, pooled), made(name, pooled)
    learn(head, "a", x, y)
    other.restore(head.blocks, {key: tensor.clone() for key, tensor in head.tensors().items()})
    before = head.block_hash("a")
    for one in (head, other):
        one.carry(the_map())
    assert (head.block_hash("a") == before) is pooled  # those that are solved together wait for the next `fit`
    for one in (head, other):
        learn(one, "b", *examples(1))
    assert head.block_hash("a") == other.block_hash("a") != before
    assert torch.equal(head(x), other(x))


def test_a_block_that_was_forgotten_is_left_out() -> None:
    head = made("ranpac", pooled=False)
    for block, seed in (("a", 0), ("b", 1)):
        learn(head, block, *examples(seed))
    kept = {key: tensor for key, tensor in head.tensors().items() if not key.startswith("0:")}
    head.restore(head.blocks, kept)
    head.carry(the_map())
    assert head.forgotten == {"a"}
    assert not head(examples(0)[0])[:, :CLASSES].any()


def test_what_stands_in_for_examples_has_their_mean_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of φ over pseudo-features are near those over the examples when these are Gaussian."""
    monkeypatch.setattr(ridge, "RIDGE_GRID", (1.0,))
    x, y = examples(0, 3000)
    head = made("ranpac", pooled=True)
    head.open("a", CLASSES, torch.Generator())
    head.fit("a", x[:2700], y[:2700], x[2700:], y[2700:])
    own = {name: head.tensors()[f"0:{name}"].clone() for name in ("cross", "gram")}
    head.carry(torch.eye(D + 1, dtype=torch.float64))
    for name, tensor in own.items():
        again = head.tensors()[f"0:{name}"]
        assert float((again - tensor).norm() / tensor.norm()) < 0.03
    assert float(pad(x[:2700].double(), (0, 1), value=1.0).sum(0)[-1]) == head.tensors()["0:class_sums"][:, -1].sum()
