"""Adapters that PEFT saved, with everything that its settings can say about them."""

from pathlib import Path

import pytest
import torch
from tiny_networks import _BERT, outputs, tiny
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from plora.adapters import Adapters, apply_lora, load_lora, load_slot, save_lora
from plora.errors import AdapterError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def classifier(labels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**_BERT, num_labels=labels)).eval()


@torch.no_grad()
def saved_by_peft(network: nn.Module, folder: Path, **settings: object) -> Tensor:
    """Make an adapter with PEFT, move all that trains in it, save it; returns PEFT's outputs."""
    model = peft.get_peft_model(network, peft.LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    model.save_pretrained(folder)
    return outputs(model.double().get_base_model())


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize(
    "patterns",
    [
        {},
        {"rank_pattern": {"query": 5, "layer.1.attention.self.value": 1}},
        {"alpha_pattern": {"value": 32, r"encoder\.layer\.\d\.attention\.self\.query": 3}},
        {"alpha_pattern": {r".*\.1\..*": 32, "query": 3}},  # the first that matches counts
        {"alpha_pattern": {"uery": 32, "layer": 7}},  # whole parts of a path only: neither matches
        {"rank_pattern": {"^encoder.layer.0.attention.self.query": 6}, "alpha_pattern": {"query|value": 5}},
    ],
)
@pytest.mark.filterwarnings(
    "ignore:.*pattern keys did not match:RuntimeWarning"
)  # PEFT says it when a pattern matches nothing
def test_scales_are_those_of_peft(patterns: dict[str, object], rslora: bool, tmp_path: Path) -> None:
    theirs = saved_by_peft(
        tiny("bert"), tmp_path, target_modules=["query", "value"], r=4, lora_alpha=6, use_rslora=rslora, **patterns
    )
    network = apply_lora(tiny("bert"), rank=1, targets=["query", "value"])
    load_lora(network, tmp_path)
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)


def test_modules_saved_whole_are_loaded_into_the_network(tmp_path: Path) -> None:
    theirs = saved_by_peft(classifier(), tmp_path, task_type="SEQ_CLS", target_modules=["query", "value"], r=2)
    network = apply_lora(classifier(), rank=2, targets=["query", "value"])
    before = network.classifier.weight.clone()
    slot = load_lora(network, tmp_path, "mine")
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)
    assert not torch.equal(network.classifier.weight, before.double())
    assert all("classifier" not in path for path in slot.A)  # the slot holds the adapter alone


def test_modules_saved_whole_are_found_as_peft_finds_them(tmp_path: Path) -> None:
    """`classifier` is the end of `pre_classifier` too."""

    def make() -> nn.Module:
        torch.manual_seed(0)
        return DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=40)
        ).eval()

    theirs = saved_by_peft(
        make(), tmp_path, target_modules=["q_lin"], modules_to_save=["classifier", "layer_norm"], r=2
    )
    network = apply_lora(make(), rank=2, targets=["q_lin"])
    load_lora(network, tmp_path)
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)


def test_modules_that_the_network_lacks_are_named_and_left_out(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    saved_by_peft(network, tmp_path, target_modules=["0"], modules_to_save=["2"], r=2)
    torch.manual_seed(0)
    headless = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
    adapted = apply_lora(headless, rank=2, targets=["0"])
    with pytest.warns(UserWarning, match=r"2\.bias, 2\.weight saved whole .* Sequential has no such modules"):
        slot = load_lora(adapted, tmp_path, "mine")
    assert list(slot.A) == ["0"]


def test_modules_of_another_shape_are_refused_before_the_first_change(tmp_path: Path) -> None:
    saved_by_peft(classifier(3), tmp_path, task_type="SEQ_CLS", target_modules=["query"], r=2)
    network = apply_lora(classifier(5), rank=2, targets=["query"])
    with pytest.raises(AdapterError, match=r"'classifier\.bias'.* is \[3\], but in this network \[5\]"):
        load_lora(network, tmp_path)
    assert Adapters.of(network).names == ["default"]


def test_another_network_than_the_adapters_is_named(tmp_path: Path) -> None:
    saved_by_peft(classifier(), tmp_path, task_type="SEQ_CLS", target_modules=["query"], r=2)
    with pytest.raises(AdapterError, match=r"its first layer is 'bert\.encoder\.layer\.0\.attention\.self\.query'"):
        load_lora(apply_lora(tiny("bert"), rank=2, targets=["query"]), tmp_path)


def test_a_slot_of_a_run_is_an_adapter_and_nothing_else(tmp_path: Path) -> None:
    saved_by_peft(classifier(), tmp_path, task_type="SEQ_CLS", target_modules=["query"], r=2)
    adapters = Adapters.inject(classifier(), ["query"])
    with pytest.raises(
        AdapterError, match=r"holds more than a slot: 'classifier\.(weight|bias)'; read it with load_lora"
    ):
        load_slot(adapters, "mine", tmp_path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "lora_only"}, "bias='lora_only'"),
        ({"bias": "all"}, "bias='all'"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"init_lora_weights": "pissa_niter_2"}, "init_lora_weights='pissa_niter_2'"),
        ({"init_lora_weights": "olora"}, "init_lora_weights='olora'"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices="),
    ],
)
@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT takes the bias of lora_bias for a damaged matrix
def test_more_than_low_rank_is_refused(settings: dict[str, object], says: str, tmp_path: Path) -> None:
    saved_by_peft(tiny("bert"), tmp_path, target_modules=["query"], r=2, **settings)
    network = apply_lora(tiny("bert"), rank=2, targets=["query"])
    with pytest.raises(AdapterError, match=rf"adapter_config\.json says {says}.*merge_and_unload"):
        load_lora(network, tmp_path)
    assert Adapters.of(network).names == ["default"]


@pytest.mark.parametrize("init", ["gaussian", "orthogonal", "mica"])
def test_ways_to_begin_that_leave_the_base_alone_are_read(init: str, tmp_path: Path) -> None:
    theirs = saved_by_peft(tiny("bert"), tmp_path, target_modules=["query"], r=2, init_lora_weights=init)
    network = apply_lora(tiny("bert"), rank=2, targets=["query"])
    load_lora(network, tmp_path)
    torch.testing.assert_close(outputs(network.double()), theirs, rtol=1e-6, atol=1e-6)


def test_our_own_adapter_comes_back_from_peft_with_its_classifier(tmp_path: Path) -> None:
    """What a user does who trained here, went on in PEFT, and returns."""
    network = apply_lora(classifier(), rank=2, targets=["query", "value"])
    save_lora(network, tmp_path / "ours")
    model = peft.PeftModel.from_pretrained(classifier(), tmp_path / "ours", is_trainable=True)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(tmp_path / "theirs")
    load_lora(network, tmp_path / "theirs")
    torch.testing.assert_close(
        outputs(network.double()), outputs(model.double().eval().get_base_model()), rtol=1e-6, atol=1e-6
    )
