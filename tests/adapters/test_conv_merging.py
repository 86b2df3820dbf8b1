"""Low-rank slots on every convolution of a real ResNet-18: found by structure, merged into plain kernels."""

import torch
from place_networks import add
from torch import nn
from transformers import ResNetConfig, ResNetModel

from plora.adapters import Adapters, merge_lora


def test_a_merged_resnet_18_gives_what_the_adapted_one_gave() -> None:
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2] * 4, layer_type="basic")
    network = ResNetModel(config).eval()
    adapters = Adapters.inject(network, "all_conv")
    assert len(adapters.places) == 1 + 16 + 3  # the stem, the blocks, the shortcuts
    for name in "ab":
        add(adapters, name)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        with adapters.using([]):
            bare = network(x).pooler_output
        gave = network(x).pooler_output
        plain = merge_lora(network, copy=False)
        merged = plain(x).pooler_output
    assert {type(module) for module in plain.modules() if hasattr(module, "kernel_size")} >= {nn.Conv2d}
    assert (gave - bare).abs().max() > 0.1 * bare.abs().max()
    assert (merged - gave).abs().max() <= 1e-5 * gave.abs().max()
