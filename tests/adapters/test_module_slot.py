"""Copies of modules, one per slot: which one runs, and when its statistics move."""

import pytest
import torch
from place_networks import Normed, add, shake
from tiny_networks import assert_same, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, Route, checkpoint_blocks, merge_lora
from plora.adapters.module_place import freeze, thaw
from plora.errors import AdapterError


def batch(seed: int = 0) -> Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))


def statistics(adapters: Adapters, name: str) -> dict[str, Tensor]:
    tensors = adapters[name].tensors["norm"]
    return {key: tensors[key].clone() for key in ("running_mean", "running_var", "num_batches_tracked")}


def test_the_copy_of_the_slot_on_the_route_runs() -> None:
    network = Normed().eval()
    adapters = Adapters.inject(network, modules=["norm", "last"])
    x = batch()
    by_hand = {}
    for name in "ab":
        add(adapters, name)
        alone = Normed().eval()
        for path, tensors in adapters[name].tensors.items():
            getattr(alone, path).load_state_dict(tensors)
        by_hand[name] = alone(x)
    for name, expected in by_hand.items():
        with adapters.using(name):
            assert torch.equal(network(x), expected)
    with adapters.using([]):
        assert torch.equal(network(x), Normed().eval()(x))


def test_statistics_move_in_train_mode_alone() -> None:
    network = Normed().eval()
    adapters = Adapters.inject(network, modules=["norm"])
    add(adapters, "a")
    adapters.open_task("b")
    before, start, base = statistics(adapters, "a"), statistics(adapters, "b"), network.norm.base.state_dict()
    base = {name: tensor.clone() for name, tensor in base.items()}
    assert set(adapters.named_moving()) == {f"norm.opened.{name}" for name in start}
    network(batch())
    assert_same(statistics(adapters, "b"), start)  # eval mode
    network.train()
    network(batch())
    moved = statistics(adapters, "b")
    assert moved["num_batches_tracked"] == 1
    assert not torch.equal(moved["running_mean"], start["running_mean"])
    for route in ("a", []):
        with adapters.using(route):
            network(batch(1))
    assert_same(statistics(adapters, "a"), before)
    assert_same(network.norm.base.state_dict(), base)
    assert_same(statistics(adapters, "b"), moved)
    content = adapters.commit()
    network.train()
    network(batch(2))
    assert adapters["b"].content_hash() == content
    assert adapters.named_moving() == {}
    adapters.reopen("b", dropout=0.0)
    network(batch(2))
    assert statistics(adapters, "b")["num_batches_tracked"] == 2


class Stack(nn.Module):
    """Two blocks with BatchNorm inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([Normed(), Normed()])
        for block in self.blocks:
            block.last = nn.Linear(8, 6)
        self.blocks[0].last, self.blocks[1].last = nn.Linear(8, 6), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize("steps", [1, 3])
def test_recomputation_does_not_move_statistics_again(steps: int) -> None:
    found = []
    for checkpointed in (False, True):
        network = Stack().eval()
        adapters = Adapters.inject(network, modules=["norm"])
        adapters.open_task("a")
        for place in adapters.places.values():
            place.train()
        if checkpointed:
            checkpoint_blocks(network.blocks, adapters.switch)
        for step in range(steps):
            network(batch(step).requires_grad_()).square().sum().backward()
        gradients = {name: parameter.grad for name, parameter in adapters.named_open().items()}
        buffers = {name: buffer.clone() for name, buffer in adapters.named_moving().items()}
        assert buffers["blocks.0.norm.opened.num_batches_tracked"] == steps
        assert not adapters.switch.recomputes
        found.append({**gradients, **buffers})
    assert_same(*found)


def test_a_module_with_two_paths_is_one_place() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Linear(4, 4)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    network = Twice()
    adapters = Adapters.inject(network, modules=["first", "second"])
    assert [*adapters.places] == ["first"]
    add(adapters, "a")
    copy = nn.Linear(4, 4)
    copy.load_state_dict(adapters["a"].tensors["first"])
    x = torch.randn(2, 4)
    assert torch.equal(network(x), copy(copy(x)))


def test_shared_parameters_stay_one_when_frozen_and_thawed() -> None:
    module = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3, bias=False)})
    module["b"].weight = module["a"].weight
    names = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    held = module["a"].weight
    freeze(module)
    assert not list(module.parameters())
    assert module["a"].weight is module["b"].weight
    held.data.zero_()  # an optimizer that still holds the parameter
    assert module["a"].weight.any()
    thaw(module, names)
    assert module["a"].weight is module["b"].weight
    assert [name for name, _ in module.named_parameters(remove_duplicate=False)] == names


def test_merging_puts_the_copy_into_the_network() -> None:
    network = tiny("bert")
    adapters = Adapters.inject(network, "attention", modules=["embeddings.LayerNorm"])
    for name in "ab":
        add(adapters, name)
    ids = {"input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        for commit in (True, False):
            if not commit:
                add(adapters, "c", commit=False)
            adapters.use("a" if commit else "c")
            merged = merge_lora(network)
            assert {name for name, _ in merged.named_parameters()} == {n for n, _ in tiny("bert").named_parameters()}
            torch.testing.assert_close(
                merged(**ids).last_hidden_state, network(**ids).last_hidden_state, rtol=1e-5, atol=1e-5
            )


def test_half_precision() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).bfloat16()
    adapters = Adapters.inject(network, modules=["0"])
    adapters.open_task("a")
    shake(adapters, 1)
    assert adapters.parameters()[0].dtype == torch.float32
    x = torch.randn(3, 4, dtype=torch.bfloat16)
    assert network(x).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        network(x)
    adapters.commit()
    adapters.use("a")
    merged = merge_lora(network)
    assert merged[0].weight.dtype == torch.bfloat16
    torch.testing.assert_close(merged(x), network(x), rtol=3e-2, atol=3e-2)


def test_integers_cannot_train() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    network[0].weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
    with pytest.raises(AdapterError, match=r"'0.weight' holds integers"):
        Adapters.inject(network, modules=["0"])
    assert Route(("a",)).coefficients is None
