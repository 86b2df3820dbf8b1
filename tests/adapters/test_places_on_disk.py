"""Slots of every kind are written, read back with the same bits, and loaded by PEFT where PEFT can."""

import json
from pathlib import Path

import pytest
import torch
from place_networks import Normed, add, mixed, resnet
from tiny_networks import assert_near, outputs, tiny
from torch import Tensor, nn

from plora.adapters import (
    Adapters,
    Bottleneck,
    Pointwise,
    Route,
    apply_lora,
    load_lora,
    load_slot,
    save_lora,
    save_route,
    save_slot,
)
from plora.errors import AdapterError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FILES = ["adapter_config.json", "adapter_model.safetensors"]


def images(network: nn.Module) -> Tensor:
    return network(torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))).last_hidden_state


def rows(network: nn.Module) -> Tensor:
    return network(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))


PLACES = {
    "module": (lambda: Normed().eval(), {"modules": ["norm", "last"]}, rows),
    "bank and module": (
        lambda: tiny("bert"),
        {"targets": "attention", "modules": ["embeddings.LayerNorm", "pooler"]},
        outputs,
    ),
    "convolution": (resnet, {"targets": "all_conv"}, images),
    "some convolutions and a module": (
        resnet,
        {"targets": ["shortcut.convolution"], "modules": ["embedder.embedder.normalization"]},
        images,
    ),
    "bottleneck": (resnet, {"bottleneck": Bottleneck(width=3, norm="batch")}, images),
    "beside convolutions": (resnet, {"pointwise": Pointwise(form="series")}, images),
    "all": (
        lambda: tiny("bert"),
        {"targets": "mlp", "modules": ["pooler"], "bottleneck": Bottleneck(width=3)},
        outputs,
    ),
}


@pytest.mark.parametrize("kind", PLACES)
def test_saved_and_loaded(kind: str, tmp_path: Path) -> None:
    make, where, run = PLACES[kind]
    network = make()
    adapters = Adapters.inject(network, **where)
    for name in "ab":
        add(adapters, name)
    adapters.use("b")
    with torch.no_grad():
        gave = run(network)
    save_slot(adapters, adapters["b"], tmp_path / "b")
    beyond = ["plora_places.json", "plora_places.safetensors"] if {"bottleneck", "pointwise"} & where.keys() else []
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == FILES + beyond
    fresh = make()
    other = Adapters.inject(fresh, **where)
    slot = load_slot(other, "mine", tmp_path / "b")
    assert slot.content_hash() == adapters["b"].content_hash()
    other.use("mine")
    with torch.no_grad():
        assert torch.equal(run(fresh), gave)
    save_slot(other, slot, tmp_path / "again")
    for file in (tmp_path / "b").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    if beyond:
        with pytest.raises(KeyError, match="PLORA"):  # not loaded without the bottlenecks
            peft.PeftModel.from_pretrained(make(), tmp_path / "b")
        with pytest.raises(
            AdapterError,
            match=r"no adapter for PEFT: (bottleneck|residual convolution) '.*PEFT has no residual adapters",
        ):
            save_lora(network, tmp_path / "export")
        with pytest.raises(AdapterError, match="no adapter for PEFT"):
            save_route(adapters, Route(("b",)), tmp_path / "export")
        assert not (tmp_path / "export").exists()
        return
    save_lora(network, tmp_path / "export")
    theirs = peft.PeftModel.from_pretrained(make(), tmp_path / "export").eval().get_base_model()
    with torch.no_grad():
        assert_near(run(theirs), gave, 1e-5)


def test_a_module_whose_name_ends_another_ones(tmp_path: Path) -> None:
    """PEFT compares the ends of names, so it copies `pre_last` too: with the values that it has."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.pre_last, self.last = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.tanh(self.pre_last(x)))

    network = Named()
    adapters = Adapters.inject(network, modules=["last"])
    assert [*adapters.places] == ["last"]
    add(adapters, "a")
    save_lora(network, tmp_path / "export")
    theirs = peft.PeftModel.from_pretrained(Named(), tmp_path / "export").eval().get_base_model()
    torch.testing.assert_close(rows(theirs), rows(network))
    save_slot(adapters, adapters["a"], tmp_path / "slot")
    load_slot(adapters, "b", tmp_path / "slot")
    both = Named()
    add(Adapters.inject(both, ["pre_last"], modules=["last"]), "a")
    with pytest.raises(AdapterError, match="would take 'pre_last' for 'last'"):
        save_lora(both, tmp_path / "both")


def test_ours_reads_what_peft_saved(tmp_path: Path) -> None:
    model = peft.get_peft_model(
        resnet(),
        peft.LoraConfig(
            r=2,
            lora_alpha=3,
            target_modules=["shortcut.convolution"],
            modules_to_save=["embedder.embedder.normalization"],
        ),
    )
    torch.manual_seed(3)
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(tmp_path)
        theirs = images(model.eval().get_base_model())
        network = resnet()
        Adapters.inject(network, ["shortcut.convolution"], modules=["embedder.embedder.normalization"])
        load_lora(network, tmp_path)
        torch.testing.assert_close(images(network), theirs, rtol=1e-5, atol=1e-5)


def test_modules_that_no_slot_owns_go_into_the_network(tmp_path: Path) -> None:
    make, where, _ = PLACES["bank and module"]
    network = make()
    add(Adapters.inject(network, **where), "a")
    save_lora(network, tmp_path)
    lora_only = apply_lora(tiny("bert"), rank=2)
    with pytest.raises(AdapterError, match=r"holds more than a slot: 'embeddings\.LayerNorm"):
        load_slot(Adapters.of(lora_only), "a", tmp_path)
    load_lora(lora_only, tmp_path)
    torch.testing.assert_close(outputs(lora_only), outputs(network))


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    network, adapters = mixed()
    add(adapters, "a")
    save_slot(adapters, adapters["a"], tmp_path)
    save_slot(mixed_without_bottleneck(), mixed_without_bottleneck()["a"], tmp_path / "less")
    with pytest.raises(AdapterError, match=r"has unknown places \['encoder.layer.0\[after\]'"):
        load_slot(mixed_without_bottleneck(), "b", tmp_path)
    _, other = mixed()
    with pytest.raises(AdapterError, match=r"lacks places \['encoder.layer.0\[after\]'"):
        load_slot(other, "b", tmp_path / "less")
    _, other = mixed(activation="gelu")
    with pytest.raises(AdapterError, match=r'made by a bottleneck with .*"relu".* but this network has .*"gelu"'):
        load_slot(other, "b", tmp_path)
    assert other.names == []
    _, other = mixed(dropout=0.5)  # no part of what a slot is
    load_slot(other, "b", tmp_path)
    (tmp_path / "plora_places.safetensors").write_bytes(b"broken")
    with pytest.raises(AdapterError, match="residual adapters cannot be read"):
        load_slot(other, "c", tmp_path)
    (tmp_path / "plora_places.json").unlink()
    with pytest.raises(AdapterError, match=r"has no plora_places.json, so its residual adapters are missing"):
        load_slot(other, "c", tmp_path)
    assert network is not None


def mixed_without_bottleneck() -> Adapters:
    adapters = Adapters.inject(tiny("bert"), "attention:qv", modules=["embeddings.LayerNorm"])
    add(adapters, "a")
    return adapters


def test_headers_are_in_order(tmp_path: Path) -> None:
    network = apply_lora(tiny("bert"), rank=2)
    save_lora(network, tmp_path)
    data = (tmp_path / "adapter_model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert [*header["__metadata__"]] == ["format", "plora"]
