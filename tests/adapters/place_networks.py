"""Small networks with places of every kind, and random slots in them."""

import torch
from tiny_networks import tiny
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from plora.adapters import Adapters, Bottleneck, LoRA, Route


def resnet(hidden: list[int] | None = None, depths: list[int] | None = None) -> nn.Module:
    torch.manual_seed(0)
    hidden, depths = hidden or [4, 8], depths or [2, 1]
    config = ResNetConfig(
        num_channels=3, embedding_size=hidden[0], hidden_sizes=hidden, depths=depths, layer_type="basic"
    )
    return ResNetModel(config).eval()


class Normed(nn.Module):
    """Two layers with BatchNorm between them, the second one read by its attributes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        assert self.last.in_features == 8
        return self.last(torch.tanh(self.norm(self.first(x))))


@torch.no_grad()
def shake(adapters: Adapters, seed: int) -> None:
    """Give every tensor of the open slot other values; those of BatchNorm's statistics stay in range."""
    generator = torch.Generator().manual_seed(seed)
    for tensors in adapters[adapters.names[-1]].tensors.values():
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.3
                tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else tensor + noise)


def add(adapters: Adapters, name: str, commit: bool = True) -> None:
    """Open a slot in every place, give it random values, and commit it."""
    adapters.open_task(name, LoRA(rank=2, dropout=0.0) if adapters.banks else None)
    shake(adapters, seed=len(adapters))
    if commit:
        adapters.commit()


def mixed(**settings: object) -> tuple[nn.Module, Adapters]:
    """A tiny BERT with banks, bottlenecks after its blocks, and the pooler as module slot."""
    network = tiny("bert")
    bottleneck = Bottleneck.model_validate({"width": 5, **settings})
    return network, Adapters.inject(network, "attention:qv", bottleneck=bottleneck, modules=["embeddings.LayerNorm"])


def only(name: str) -> Route:
    return Route((name,))
