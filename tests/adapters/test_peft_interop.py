"""Adapters go to PEFT and come from PEFT with the same outputs."""

from pathlib import Path

import pytest
import torch
from tiny_networks import fill, outputs, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, apply_lora, find_targets, load_lora, merge_lora, save_lora
from plora.errors import AdapterError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@torch.no_grad()
def peft_outputs(model: nn.Module) -> Tensor:
    return outputs(model.double().eval().get_base_model())  # double: nothing hides behind rounding


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("bert", "attention"),
        ("bert", "all_linear"),
        ("modernbert", "attention:qv"),
        ("modernbert", "attention"),
        ("gpt2", "attention:qv"),
        ("gpt2", "all_linear"),
        ("vit", "mlp"),
        ("t5", "attention"),
    ],
)
def test_peft_reads_ours(kind: str, targets: str, rslora: bool, tmp_path: Path) -> None:
    network = apply_lora(tiny(kind), rank=3, alpha=7.0, targets=targets, rslora=rslora)
    fill(Adapters.of(network), "default")
    save_lora(network, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(kind), tmp_path)
    torch.testing.assert_close(peft_outputs(theirs), outputs(network.double()), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(outputs(network), outputs(tiny(kind).double()), atol=1e-3)


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_peft_reads_an_adapter_of_the_last_block(kind: str, tmp_path: Path) -> None:
    network = apply_lora(tiny(kind), rank=3, alpha=7.0, targets="attention:qv", layers="last 1")
    fill(Adapters.of(network), "default")
    save_lora(network, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny(kind), tmp_path)
    adapted = {name.partition(".lora_A")[0] for name, _ in theirs.named_parameters() if ".lora_A" in name}
    assert adapted
    assert all(".1." in name for name in adapted)
    torch.testing.assert_close(peft_outputs(theirs), outputs(network.double()), rtol=1e-9, atol=1e-9)
    back = apply_lora(tiny(kind), rank=1, targets="attention:qv", layers="last 1")
    load_lora(back, tmp_path)
    torch.testing.assert_close(outputs(back.double()), outputs(network))


def saved_by_peft(kind: str, folder: Path, **settings: object) -> Tensor:
    """Make an adapter with PEFT, give it random values, save it; returns PEFT's outputs."""
    model = peft.get_peft_model(tiny(kind), peft.LoraConfig(**settings))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return peft_outputs(model)


@pytest.mark.parametrize(
    ("kind", "targets", "settings"),
    [
        ("bert", ["query", "value"], {"r": 3, "lora_alpha": 5}),
        ("bert", ["query", "value"], {"r": 4, "lora_alpha": 5, "use_rslora": True}),
        ("bert", ["query", "value"], {"r": 3, "rank_pattern": {"query": 5}, "alpha_pattern": {"value": 32}}),
        (
            "bert",
            ["query", "value"],
            {
                "r": 3,
                "use_rslora": True,
                "rank_pattern": {"layer.1.attention.self.query": 2},
                "alpha_pattern": {r".*\.1\..*query": 11, "query": 2},
            },
        ),
        ("gpt2", ["c_attn", "attn.c_proj"], {"r": 3, "fan_in_fan_out": True}),
        ("modernbert", ["Wqkv", "Wo"], {"r": 2, "lora_alpha": 3}),
        ("t5", ["q", "v"], {"r": 2}),
    ],
)
def test_ours_reads_peft(kind: str, targets: list[str], settings: dict[str, object], tmp_path: Path) -> None:
    theirs = saved_by_peft(kind, tmp_path, target_modules=targets, **settings)
    network = apply_lora(tiny(kind), rank=2, targets=targets)
    load_lora(network, tmp_path)
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(outputs(merge_lora(network)), theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "fused"), [("gpt2", "attn.c_attn"), ("modernbert", "attn.Wqkv")])
def test_peft_on_a_fused_layer_becomes_slots_of_q_k_and_v(kind: str, fused: str, tmp_path: Path) -> None:
    theirs = saved_by_peft(kind, tmp_path, target_modules=[fused], r=3, fan_in_fan_out=kind == "gpt2")
    network = apply_lora(tiny(kind), rank=2, targets="attention:qkv")
    load_lora(network, tmp_path)
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)
    narrow = apply_lora(tiny(kind), rank=2, targets="attention:qv")
    with pytest.raises(AdapterError, match="changes more of its output"):
        load_lora(narrow, tmp_path)


def test_there_and_back_again(tmp_path: Path) -> None:
    """Ours → PEFT → ours keeps A, B and the scale bit for bit."""
    network = apply_lora(tiny("bert"), rank=4, alpha=8.0)
    fill(Adapters.of(network), "default")
    save_lora(network, tmp_path / "ours")
    peft.PeftModel.from_pretrained(tiny("bert"), tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = apply_lora(tiny("bert"), rank=4)
    slot = load_lora(back, tmp_path / "theirs")
    assert slot.content_hash() == Adapters.of(network)["default"].content_hash()
    assert len(find_targets(tiny("bert"), "attention")) == 8
