"""Places of every kind inside the model that learns: what trains, what moves, and what may never change."""

import torch
from place_networks import add

from plora.adapters import Adapters, Bottleneck
from plora.fingerprint import hash_tensors
from plora.gates.one_hot import OneHot
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.testing.tiny import WIDTH, tiny_network, tiny_tokenizer

INPUTS = {"input_ids": torch.tensor([[5, 6, 7], [8, 6, 5]]), "attention_mask": torch.ones(2, 3, dtype=torch.long)}

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def model_with_places() -> ContinualModel:
    network = tiny_network()
    adapters = Adapters.inject(
        network, "attention", bottleneck=Bottleneck(width=3, norm="batch"), modules=["embeddings.LayerNorm"]
    )
    problem = TextClassification(tiny_tokenizer(), 16, "mean")
    return ContinualModel(network, problem, LinearHead(WIDTH), adapters, OneHot()).eval()


def test_the_open_slot_trains_and_its_statistics_move() -> None:
    model = model_with_places()
    assert model.adapters is not None
    for name in ("a", "b"):
        add(model.adapters, name, commit=name == "a")
        model.head.open(name, 2, torch.Generator().manual_seed(0))
        if name == "a":
            model.head.commit()
    opened = {f"backbone.{name}" for name in model.adapters.named_open()}
    copies = {name for name in opened if ".LayerNorm." in name}
    assert {name for name, part in model.parts().items() if part == "modules"} == copies
    assert {name for name, part in model.parts().items() if part == "adapter"} == opened - copies
    assert {name for name in model.trainable() if name.startswith("backbone.")} == opened
    moving = {f"backbone.transformer.layer.{n}.place.opened.norm.{s}" for n in range(2) for s in STATISTICS}
    assert set(model.moving()) == moving

    frozen, signature = hash_tensors(model.frozen()), model.signature("a", ["a"])
    before = {name: buffer.clone() for name, buffer in model.moving().items()}
    model.train()
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=0.1)
    model(INPUTS, "b")[:, 2:].square().sum().backward()
    optimizer.step()
    model.eval()
    assert hash_tensors(model.frozen()) == frozen
    assert all(not torch.equal(buffer, before[name]) for name, buffer in model.moving().items())
    with torch.no_grad():
        gave = model(INPUTS, "b")
        model.fold("b")  # nothing can be folded here, and nothing is
        assert not model.folded
        model.commit()
        assert torch.equal(model(INPUTS, "b"), gave)
    assert model.moving() == {}
    assert model.signature("a", ["a"]) == signature
    bare = tiny_network()
    pretrained = [tensor for tensor in model.pretrained() if tensor.numel()]
    assert len(pretrained) == len([*bare.parameters(), *bare.buffers()])  # no slot's
