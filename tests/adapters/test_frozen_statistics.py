"""A frozen network's statistics stay, whatever `train()` and `eval()` are called with, and on which module."""

import copy
from collections.abc import Callable

import torch
from place_networks import Normed, resnet
from tiny_networks import assert_same
from torch import Tensor, nn

from plora.adapters import Adapters, Bottleneck, apply_lora, merge_lora
from plora.backbones import Preparation
from plora.gates.one_hot import OneHot
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.problems.image_classification import ImageClassification

SEQUENCES: list[list[Callable[[nn.Module], object]]] = [
    [lambda network: network.train()],
    [lambda network: network.eval(), lambda network: network.train()],
    [lambda network: network.train(), lambda network: network.eval(), lambda network: network.train(True)],
    [lambda network: [module.train() for module in network.modules()]],
    [lambda network: network.apply(lambda module: module.train())],
]


def frozen_buffers(network: nn.Module) -> dict[str, Tensor]:
    return {name: b.clone() for name, b in network.named_buffers() if "running" in name or "tracked" in name}


def test_in_a_loop_of_your_own() -> None:
    network = apply_lora(resnet().train(), rank=2, targets="all_conv")
    before = frozen_buffers(network)
    assert before
    for sequence in SEQUENCES:
        for call in sequence:
            call(network)
        output = network(torch.randn(4, 3, 8, 8) + 5).last_hidden_state
    output.square().mean().backward()
    assert all(parameter.grad is not None for parameter in Adapters.of(network).parameters())
    assert_same(frozen_buffers(network), before)
    twin = copy.deepcopy(network).train()
    twin(torch.randn(4, 3, 8, 8))
    assert_same(frozen_buffers(twin), before)


def test_in_the_model_that_learns() -> None:
    network = resnet()
    adapters = Adapters.inject(network, bottleneck=Bottleneck(width=3, norm="batch"))
    problem = ImageClassification(Preparation((8, 8), (0.5,) * 3, (0.5,) * 3))
    model = ContinualModel(network, problem, LinearHead(8), adapters, OneHot())
    adapters.open_task("a")
    model.head.open("a", 2, torch.Generator())
    own = {name for name in frozen_buffers(model) if ".opened." in name}
    before = frozen_buffers(model)
    for sequence in SEQUENCES:
        for call in sequence:
            call(model)
        model({"pixel_values": torch.randn(4, 3, 8, 8) + 5}, "a")
    after = frozen_buffers(model)
    assert own
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - own)
    assert not any(torch.equal(after[name], before[name]) for name in own)


def test_what_its_owner_trains_again_moves() -> None:
    network = merge_lora(apply_lora(Normed(), rank=1, targets=["last"]))
    before = network.norm.running_mean.clone()
    network.train()(torch.randn(5, 6))
    assert torch.equal(network.norm.running_mean, before)
    network.requires_grad_(True).train()(torch.randn(5, 6))
    assert not torch.equal(network.norm.running_mean, before)
