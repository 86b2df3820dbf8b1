"""Heads of angles: equal to cosines one by one, blind to lengths, and old rows that stay the same bits."""

import math
from collections.abc import Callable

import pytest
import torch

from plora.config import RunConfig
from plora.heads import CosineHead, LinearHead
from plora.runs import run
from plora.tensor_file import load_tensors
from plora.testing import check_head

D = 5


def opened(*blocks: tuple[str, int]) -> CosineHead:
    head = CosineHead(D, True)
    for number, (name, classes) in enumerate(blocks):
        head.open(name, classes, torch.Generator().manual_seed(number))
    return head


def features(number: int = 6) -> torch.Tensor:
    return torch.randn(number, D, generator=torch.Generator().manual_seed(9))


def test_it_conforms() -> None:
    check_head(CosineHead)


def test_scores_are_scaled_cosines() -> None:
    head, x = opened(("a", 3), ("b", 2)), features()
    head._open["scale:1"].data.fill_(4.0)
    tensors, found = head.tensors(), head(x)
    for row in range(5):
        block, within = (0, row) if row < 3 else (1, row - 3)
        w = tensors[f"{block}:weight"][within].tolist()
        for number, f in enumerate(x.tolist()):
            cosine = sum(a * b for a, b in zip(w, f, strict=True)) / math.hypot(*w) / math.hypot(*f)
            expected = (4.0 if block == 1 else 10.0) * cosine
            assert found[number, row].item() == pytest.approx(expected, abs=1e-5)


def test_lengths_do_not_count() -> None:
    head, x = opened(("a", 3)), features()
    before = head(x)
    head._open["weight:0"].data.mul_(7)
    torch.testing.assert_close(head(30 * x), before)
    assert head(torch.zeros(1, D)).tolist() == [[0, 0, 0]]


def test_rows_are_drawn_as_those_of_a_linear_head() -> None:
    linear = LinearHead(D)
    linear.open("a", 3, torch.Generator().manual_seed(0))
    assert torch.equal(opened(("a", 3)).tensors()["0:weight"], linear.tensors()["0:weight"])


def test_the_scale_stays_where_no_phase_trains_it(toy_config: Callable[..., RunConfig]) -> None:
    def scales(*more: str) -> list[float]:
        folder = run(toy_config("head=cosine", "training.epochs=1", f"name=with-{len(more)}", *more))
        stored = [load_tensors(path) for path in folder.glob("heads/*.safetensors")]
        return [tensors["scale"].item() for tensors in stored]

    assert set(scales("phases=[{train: [adapter, 'head._open.weight']}]")) == {10.0}
    assert 10.0 not in scales()


def test_old_rows_keep_their_scores_to_the_bit_while_new_ones_train() -> None:
    head, x = opened(("a", 3)), features()
    head.commit()
    before = head(x)
    head.open("b", 2, torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        head(x).square().sum().backward()
        optimizer.step()
    assert torch.equal(head(x)[:, :3], before)
    assert head.tensors()["1:scale"].item() != 10


def test_it_is_a_linear_map_of_features_of_length_1() -> None:
    head, x = opened(("a", 3)), features()
    weight = head.linear_form({name.partition(":")[2]: tensor for name, tensor in head.tensors().items()})
    torch.testing.assert_close(torch.nn.functional.normalize(x, dim=1) @ weight.T, head(x))
