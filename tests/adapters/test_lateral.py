"""Lateral connections: a new slot learns to read what older slots read."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.lora import Pair, mixed_linear
from tiny_networks import add_slot, fill, mlp, outputs
from torch import nn

from plora.adapters import Adapters, LoRA
from plora.adapters.interop import load_slot, save_slot
from plora.errors import AdapterError

_LORA = LoRA(rank=2, alpha=4, dropout=0.0)


def with_two_old_slots() -> tuple[nn.Sequential, Adapters]:
    network = mlp()
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "one")
    add_slot(adapters, "two")
    return network, adapters


def open_lateral(adapters: Adapters, seed: int = 3) -> None:
    torch.manual_seed(seed)
    adapters.open_task("new", _LORA, lateral=True)
    adapters.use("new")


def filled(adapters: Adapters) -> None:
    """Give the open slot a B and a C that are not 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for bank in adapters.banks.values():
            for matrix in (bank.B, bank.C):
                matrix.copy_(torch.randn(matrix.shape, generator=generator))


def test_equals_the_mixing_of_all_directions_of_all_slots() -> None:
    network, adapters = with_two_old_slots()
    open_lateral(adapters)
    filled(adapters)
    bank, layer = adapters.banks["0"], network[0]
    x = torch.randn(5, bank.in_features, generator=torch.Generator().manual_seed(0))
    names = ["one", "two", "new"]
    shapes = [bank.shape(name) for name in names]
    A = [bank.rows("one")[0], bank.rows("two")[0], bank.A]
    slots = [
        Pair(*(t.detach().double().numpy() for t in (a, bank.rows(name)[1].T)), shape.scale)
        for name, a, shape in zip(names, A, shapes, strict=True)
    ]
    ranks = [shape.rank for shape in shapes]
    M = np.zeros((sum(ranks), sum(ranks)))
    M[-2:, :-2], M[-2:, -2:] = bank.C.detach().numpy(), np.eye(2)
    W, b = (t.detach().double().numpy() for t in (layer.base.weight, layer.base.bias))
    slow = mixed_linear(x.double().numpy(), W, b, slots, lambda k, where: 1.0, M)
    np.testing.assert_allclose(layer(x).detach().numpy(), slow, rtol=1e-4, atol=1e-4)


def test_without_connections_it_is_a_slot_of_its_own_to_the_bit() -> None:
    network, adapters = with_two_old_slots()
    other = copy.deepcopy(network)
    plain = Adapters.of(other)
    open_lateral(adapters)
    torch.manual_seed(3)
    plain.open_task("new", _LORA)
    plain.use("new")
    optimizers = [
        torch.optim.AdamW([matrix for bank in a.banks.values() for matrix in (bank.A, bank.B)], lr=0.05)
        for a in (adapters, plain)
    ]
    for step in range(4):
        for model, optimizer in zip((network, other), optimizers, strict=True):
            optimizer.zero_grad()
            outputs(model, seed=step).square().sum().backward()
            optimizer.step()
    assert torch.equal(outputs(network), outputs(other))
    assert all(not bank.C.any() for bank in adapters.banks.values())  # they were not in the optimizer


def test_the_first_slot_has_nobody_to_read() -> None:
    adapters = Adapters.inject(mlp(), "all_linear")
    adapters.open_task("first", _LORA, lateral=True)
    assert len(adapters.parameters()) == 2 * len(adapters.banks)
    adapters.commit()
    adapters.open_task("second", _LORA, lateral=True)
    assert len(adapters.parameters()) == 3 * len(adapters.banks)


def test_old_slots_keep_every_bit_and_a_committed_slot_is_a_plain_one(tmp_path: Path) -> None:
    network, adapters = with_two_old_slots()
    with adapters.using("two"):
        before = outputs(network)
    open_lateral(adapters)
    filled(adapters)
    trained = outputs(network)
    slot = adapters["new"]
    folded = {path: delta.detach().clone() for path, delta in slot.delta().items()}
    adapters.commit()
    for path, delta in adapters["new"].delta().items():
        assert torch.equal(delta, folded[path])
    assert torch.allclose(outputs(network), trained, rtol=1e-5, atol=1e-5)
    with adapters.using("two"):
        assert torch.equal(outputs(network), before)

    save_slot(adapters, adapters["new"], tmp_path / "slot")
    alone = mlp()
    loaded = Adapters.inject(alone, "all_linear")
    load_slot(loaded, "new", tmp_path / "slot")  # without the slots that it learned to read
    loaded.use("new")
    assert torch.equal(outputs(alone), outputs(network))


@pytest.mark.parametrize("connected", [True, False])
def test_it_learns_to_read_what_older_slots_read(connected: bool) -> None:
    """The target is in what the old slot reads; the new slot's own directions are held."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 8))
    adapters = Adapters.inject(network, ["0"])
    adapters.open_task("old", LoRA(rank=8, alpha=8, dropout=0.0))
    fill(adapters, "old")
    adapters.commit()
    x = torch.randn(256, 32)
    read = adapters["old"].A["0"]
    with adapters.using([]), torch.no_grad():
        target = network(x) + x @ read.T.sum(1, keepdim=True) @ torch.randn(1, 8)
    adapters.open_task("new", LoRA(rank=1, alpha=1, dropout=0.0), lateral=connected)
    adapters.use("new")
    adapters.banks["0"].A.requires_grad_(False).mul_(0.01)  # of its own it reads next to nothing
    optimizer = torch.optim.Adam([p for p in adapters.parameters() if p.requires_grad], lr=0.02)
    for _ in range(600):
        optimizer.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        optimizer.step()
    assert (loss < 1e-3) == connected


def test_a_slot_that_is_read_stays_while_the_reader_trains() -> None:
    _, adapters = with_two_old_slots()
    open_lateral(adapters)
    with pytest.raises(AdapterError, match="the open slot 'new' reads slot 'one'; commit it before deleting 'one'"):
        adapters.delete("one")
    adapters.commit()
    adapters.delete("one")
    assert adapters.names == ["two", "new"]
