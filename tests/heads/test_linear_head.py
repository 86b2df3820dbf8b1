from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from plora.errors import RunError
from plora.heads import LinearHead

D = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head_of(*blocks: tuple[str, int]) -> LinearHead:
    head = LinearHead(D)
    for number, (name, classes) in enumerate(blocks):
        head.open(name, classes, seeded(number))
    return head


def train(head: LinearHead, optimizer: torch.optim.Optimizer) -> None:
    for step in range(4):
        optimizer.zero_grad()
        head(torch.randn(5, D, generator=seeded(step))).square().sum().backward()
        optimizer.step()


def test_rows_of_a_new_block() -> None:
    head = LinearHead(400)
    head.open("a", 300, seeded())
    state = head.tensors()
    assert state["0:weight"].shape == (300, 400)
    assert state["0:weight"].std().item() == pytest.approx(0.02, rel=0.02)
    assert state["0:weight"].mean().item() == pytest.approx(0, abs=3e-4)
    assert not state["0:bias"].any()
    again = LinearHead(400)
    again.open("other name", 300, seeded())
    assert torch.equal(again.tensors()["0:weight"], state["0:weight"])  # all chance is in the generator


def test_growth_keeps_the_scores_of_old_rows() -> None:
    head = head_of(("a", 3))
    x = torch.randn(4, D, generator=seeded(9))
    before = head(x)
    assert before.shape == (4, 3)
    head.commit()
    assert torch.equal(head(x), before)
    head.open("b", 2, seeded(1))
    assert head(x).shape == (4, 5)
    torch.testing.assert_close(head(x)[:, :3], before)
    assert (head.rows, head.slice_of("a"), head.slice_of("b")) == (5, slice(0, 3), slice(3, 5))
    state = head.tensors()
    torch.testing.assert_close(head(x)[:, 3:], x @ state["1:weight"].T + state["1:bias"])
    with pytest.raises(KeyError):
        head.slice_of("c")


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1),
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1),
    ],
)
def test_committed_rows_do_not_move(make: Callable[..., torch.optim.Optimizer]) -> None:
    head = head_of(("a", 3))
    optimizer = make(head.parameters())
    train(head, optimizer)
    head.commit()
    assert list(head.parameters()) == []
    before, content = {k: v.clone() for k, v in head.tensors().items()}, head.block_hash("a")
    head.open("b", 2, seeded(1))
    start = head.block_hash("b")
    assert sum(p.numel() for p in head.parameters()) == 2 * D + 2
    optimizer.add_param_group({"params": list(head.parameters())})  # with the momentum of the first task
    train(head, optimizer)
    for key, value in before.items():
        assert torch.equal(head.tensors()[key], value)
    assert head.block_hash("a") == content
    assert head.block_hash("b") != start


def test_reopening_continues_with_the_values() -> None:
    head = head_of(("a", 3), ("b", 2))
    head.commit()
    x = torch.randn(4, D, generator=seeded(9))
    before, hashes = head(x), {name: head.block_hash(name) for name in "ab"}
    head.open("a", 3, seeded(55))
    assert torch.equal(head(x), before)
    assert {name: head.block_hash(name) for name in "ab"} == hashes
    assert len(list(head.parameters())) == 2
    train(head, torch.optim.AdamW(head.parameters(), lr=0.05))
    assert not torch.equal(head(x)[:, :3], before[:, :3])
    assert torch.equal(head(x)[:, 3:], before[:, 3:])
    head.commit()
    assert head.blocks == {"a": 3, "b": 2}
    assert head.block_hash("a") != hashes["a"]
    assert head.block_hash("b") == hashes["b"]


def test_committing_detaches_from_the_trained_parameters() -> None:
    head = head_of(("a", 3))
    parameters = list(head.parameters())
    head.commit()
    before = head.block_hash("a")
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1)
    assert head.block_hash("a") == before


def test_an_open_block_is_not_drawn_again() -> None:
    head = head_of(("a", 3))
    train(head, torch.optim.AdamW(head.parameters(), lr=0.05))
    before = head.block_hash("a")
    head.open("a", 3, seeded(5))
    assert head.block_hash("a") == before


def test_restoring_is_exact() -> None:
    head = head_of(("a", 3), ("b", 1))
    head.commit()
    head.open("b", 1, seeded(7))
    other = LinearHead(D)
    other.open("left over", 2, seeded())
    other.restore(head.blocks, {name: tensor.clone() for name, tensor in head.tensors().items()})
    x = torch.randn(4, D)
    assert torch.equal(other(x), head(x))
    assert list(other.parameters()) == []
    for name in "ab":
        assert other.block_hash(name) == head.block_hash(name)


def _without(state: dict[str, Tensor], key: str) -> None:
    del state[key]


def _shortened(state: dict[str, Tensor], key: str) -> None:
    state[key] = state[key][:-1]


@pytest.mark.parametrize("damage", [_without, _shortened])
@pytest.mark.parametrize("key", ["0:weight", "1:bias"])
def test_damaged_tensors_are_refused(damage: Callable[[dict[str, Tensor], str], None], key: str) -> None:
    head = head_of(("a", 3), ("b", 2))
    state = head.tensors()
    damage(state, key)
    block, rows = {"0": ("a", 3), "1": ("b", 2)}[key[0]]
    with pytest.raises(RunError, match=f"does not hold {rows} rows of {D} features for '{block}'"):
        LinearHead(D).restore(head.blocks, state)


def test_hashes_follow_content_alone() -> None:
    one, two = head_of(("a", 3), ("b", 3)), head_of(("x", 3), ("y", 3))
    assert one.block_hash("a") == two.block_hash("x")
    assert one.block_hash("a") != one.block_hash("b")
    before = one.block_hash("b")
    with torch.no_grad():
        next(p for name, p in one.named_parameters() if "bias:0" in name)[0] += 1e-7
    assert one.block_hash("a") != two.block_hash("x")
    assert one.block_hash("b") == before
