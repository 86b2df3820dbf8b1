"""The networks and peers that the benchmarks share."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from plora.adapters import Adapters, LoRA, Route
from plora.backbones import BackboneConfig, load_backbone

Step = Callable[[], None]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QKV = ["query", "key", "value"]


def minilm() -> nn.Module:
    """The embedded MiniLM, in eval mode, on a GPU where there is one."""
    network: nn.Module = load_backbone(BackboneConfig()).network.to(DEVICE)
    return network


def batch(size: int, length: int, vocabulary: int = 30000) -> dict[str, Tensor]:
    """Random token ids without padding."""
    ids = torch.randint(1000, vocabulary, (size, length)).to(DEVICE)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def settle() -> None:
    """Wait until a GPU has done what it was told, where there is one."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def make_step(network: nn.Module, parameters: list[nn.Parameter], inputs: dict[str, Tensor], width: int) -> Step:
    """One training step: forward, mean pooling, a 4-class head, backward, AdamW."""
    head = nn.Linear(width, 4).to(DEVICE)
    labels = torch.randint(0, 4, (len(next(iter(inputs.values()))),)).to(DEVICE)
    optimizer = torch.optim.AdamW([*parameters, *head.parameters()], lr=1e-4)

    def step() -> None:
        features = network(**inputs).last_hidden_state.mean(1)
        torch.autograd.backward(F.cross_entropy(head(features), labels))
        optimizer.step()
        optimizer.zero_grad()
        settle()

    return step


def peft_network(base: nn.Module, slots: int, targets: list[str], rank: int, train: bool) -> nn.Module:
    """The base with `slots` PEFT adapters active, the last one trainable; in train mode, or at its best in eval."""
    network = get_peft_model(copy.deepcopy(base), LoraConfig(r=rank, target_modules=targets), adapter_name="slot0")
    for slot in range(1, slots):
        network.add_adapter(f"slot{slot}", LoraConfig(r=rank, target_modules=targets))
    network.base_model.set_adapter([f"slot{slot}" for slot in range(slots)])
    for name, parameter in network.named_parameters():
        parameter.requires_grad = f".slot{slots - 1}." in name
    network.train(train)
    adapted: nn.Module = network
    return adapted


def plora_network(base: nn.Module, slots: int, targets: list[str], rank: int, folded: bool) -> nn.Module:
    """The base with `slots` slots active, the last one open; older ones concatenated or folded."""
    network = copy.deepcopy(base)
    adapters = Adapters.inject(network, targets)
    for slot in range(slots):
        adapters.open_task(f"slot{slot}", LoRA(rank=rank, alpha=8, dropout=0.0))
        if slot < slots - 1:
            for parameter in adapters.parameters():
                nn.init.normal_(parameter, std=0.02)
            adapters.commit()
    if folded and slots > 1:
        adapters.fold(dict.fromkeys(adapters.names[:-1], 1.0))
        adapters.use(Route(tuple(adapters.names), folded=True))
    return network


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that train."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
