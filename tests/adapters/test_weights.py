"""Layers whose weight is computed, packed or shared: right, or refused for the true reason before anything changes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_networks import add_slot, assert_near, fill, mlp
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from plora.adapters import Adapters, LoRA, Route, apply_lora, load_lora, merge_lora, save_lora
from plora.errors import AdapterError

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of PEFT and old hooks
IDS = torch.tensor([[1, 2, 3, 4, 5]])
COMPUTED: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5),
    "old weight_norm": nn.utils.weight_norm,
    "old spectral_norm": nn.utils.spectral_norm,
}


def adapted(layer: nn.Module, copy: bool = True) -> nn.Module:
    """One layer with a committed slot of random numbers."""
    network = apply_lora(nn.Sequential(layer).eval(), rank=2, targets=["0"], copy=copy, name="a")
    fill(Adapters.of(network), "a")
    Adapters.of(network).commit()
    return network


class Scaled(nn.Linear):
    """What it multiplies with is not its weight."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Transposed(nn.Linear):
    """A forward of its own, which is W x + b."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T + self.bias


class Packed(nn.Linear):
    """Two numbers of four bits in each byte, and the weight that they stand for."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.full = self.weight.detach().clone()
        self.weight = nn.Parameter(torch.zeros(inputs * outputs // 2, 1, dtype=torch.uint8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.full, self.bias)


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_computed_weight_is_adapted_and_not_merged(kind: str) -> None:
    torch.manual_seed(0)
    layer = COMPUTED[kind](nn.Linear(6, 6))
    x = torch.randn(3, 6)
    network = adapted(layer, copy=False)
    bare = layer(x)
    both = network(x)
    delta = Adapters.of(network)["a"].delta()["0"]
    assert_near(both, bare + x @ delta.T, 1e-5)
    for _ in range(2):
        with pytest.raises(AdapterError, match="layer '0' cannot do this: its weight is computed from other param"):
            merge_lora(network, copy=False)
        with pytest.raises(AdapterError, match="its weight is computed from other parameters"):
            Adapters.of(network).fold({"a": 1.0})
    assert torch.equal(network(x), both)


@pytest.mark.parametrize("kind", ["pruned", "old weight_norm"])
def test_a_network_that_torch_cannot_copy(kind: str) -> None:
    layer = COMPUTED[kind](nn.Linear(6, 6))
    with pytest.raises(AdapterError, match=r"a hook computes the weight of '0' .*give copy=False, or .*prune\.remove"):
        adapted(layer)


def test_a_forward_of_its_own_is_compared_with_w_x() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    network = adapted(Transposed(6, 4))
    assert_near(merge_lora(network)(x), network(x), 1e-5)
    with pytest.raises(AdapterError, match=r"Scaled makes more of its input than W x \+ b"):
        merge_lora(adapted(Scaled(6, 4)))
    convolution = nn.Conv2d(2, 3, 3, stride=2, padding=1)
    convolution.register_forward_hook(lambda *_: None)
    merged = merge_lora(adapted(convolution))
    assert isinstance(merged[0], nn.Conv2d)


def test_a_packed_weight_has_the_size_that_its_layer_says() -> None:
    torch.manual_seed(0)
    network = adapted(Packed(8, 6))
    adapters = Adapters.of(network)
    assert (adapters.layers[0].in_features, adapters.layers[0].out_features) == (8, 6)
    x = torch.randn(3, 8)
    assert_near(network(x), network[0].base(x) + x @ adapters["a"].delta()["0"].T, 1e-5)
    before = network(x)
    with pytest.raises(AdapterError, match=r"stores its weight packed \(torch\.uint8 \[24, 1\]\)"):
        merge_lora(network, copy=False)
    assert torch.equal(network(x), before)
    with pytest.raises(AdapterError, match=r"rank 7 .* \(8 inputs, 6 outputs\); choose rank ≤ 6"):
        apply_lora(nn.Sequential(Packed(8, 6)), rank=7, targets=["0"])


def test_a_folded_weight_follows_into_another_type() -> None:
    network = mlp()
    adapters = Adapters.inject(network, "all_linear")
    add_slot(adapters, "a")
    adapters.fold({"a": 1.0})
    adapters.use(Route(("a",), folded=True))
    x = torch.randn(3, 6)
    before = network(x)
    assert_near(network.double()(x.double()), before.double(), 1e-5)
    assert network.half()(x.half()).dtype == torch.float16


# ---------------------------------------------------------------------- shared weights


def llama(tied: bool = True) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, num_key_value_heads=2, intermediate_size=16, tie_word_embeddings=tied)
    return LlamaForCausalLM(config).eval()


def saved_by_peft(folder: Path, tied: bool = True, **settings: object) -> Tensor:
    """Write an adapter that has learned something, and return the logits that PEFT has with it."""
    trained = peft.get_peft_model(llama(tied), peft.LoraConfig(r=2, **settings))
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            if "modules_to_save" in name or ".lora_" in name:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    trained.save_pretrained(folder)
    logits: Tensor = peft.PeftModel.from_pretrained(llama(tied), folder).eval()(IDS).logits
    return logits


@pytest.mark.parametrize("saved", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens"]])
def test_modules_to_save_change_their_own_half_of_a_tie(saved: list[str], tmp_path: Path) -> None:
    wanted = saved_by_peft(tmp_path, target_modules=["q_proj"], modules_to_save=saved)
    network = apply_lora(llama(), rank=2, targets=["q_proj"])
    before = {"embed_tokens": network.model.embed_tokens.weight.clone(), "lm_head": network.lm_head.weight.clone()}
    load_lora(network, tmp_path)
    assert_near(network(IDS).logits, wanted, 1e-5)
    now = {"embed_tokens": network.model.embed_tokens.weight, "lm_head": network.lm_head.weight}
    assert {name for name in now if not torch.equal(now[name], before[name])} == set(saved)


@pytest.mark.parametrize("tied", [True, False])
def test_an_adapter_of_the_output_layer(tied: bool, tmp_path: Path) -> None:
    """PEFT writes the pretrained output layer and embedding beside it."""
    wanted = saved_by_peft(tmp_path / "peft", tied, target_modules=["q_proj", "lm_head"])
    network = apply_lora(llama(tied), rank=2, targets=["q_proj", "lm_head"])
    load_lora(network, tmp_path / "peft")
    assert_near(network(IDS).logits, wanted, 1e-5)
    merge_lora(network).save_pretrained(tmp_path / "merged")
    again = LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert_near(again(IDS).logits, wanted, 1e-5)
    other = llama(tied)
    with torch.no_grad():
        other.lm_head.weight.add_(1)
    network = apply_lora(other, rank=2, targets=["q_proj", "lm_head"])
    with pytest.raises(AdapterError, match=r"holds '.*' whole .* another than this network's .*save_embedding_layers"):
        load_lora(network, tmp_path / "peft")


def test_an_adapter_of_an_embedding_is_refused(tmp_path: Path) -> None:
    saved_by_peft(tmp_path, tied=False, target_modules=["q_proj", "embed_tokens"])
    network = apply_lora(llama(tied=False), rank=2, targets=["q_proj"])
    with pytest.raises(AdapterError, match=r"adapts the embedding 'model\.embed_tokens', .*merge it with PEFT"):
        load_lora(network, tmp_path)


def test_a_named_adapter_of_peft_is_in_a_folder_of_its_own(tmp_path: Path) -> None:
    peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"]), adapter_name="mail").save_pretrained(
        tmp_path
    )
    network = apply_lora(llama(), rank=2, targets=["q_proj"])
    with pytest.raises(AdapterError, match=r"it has no adapter_config\.json; its folder 'mail' has one, give .*mail$"):
        load_lora(network, tmp_path)
    load_lora(network, tmp_path / "mail")


class Twins(nn.Module):
    """One layer under two names, or one block that holds it."""

    def __init__(self, of_layers: bool) -> None:
        super().__init__()
        self.left = nn.Linear(6, 6) if of_layers else nn.Sequential(nn.Linear(6, 6))
        self.right = self.left

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.right(torch.relu(self.left(x)))
        return mapped


def test_a_layer_with_two_names_is_no_adapter_for_peft(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Twins(of_layers=True)
    peft.get_peft_model(network, peft.LoraConfig(target_modules=["left"])).save_pretrained(tmp_path / "peft")
    network = apply_lora(Twins(of_layers=True), rank=2, targets="all_linear")
    with pytest.raises(AdapterError, match="'left' and 'right' are one layer, of which PEFT would adapt 'left' alone"):
        save_lora(network, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
    with pytest.raises(AdapterError, match="cannot be read: 'left' and 'right' are one layer"):
        load_lora(network, tmp_path / "peft")


def test_a_layer_in_a_block_with_two_names_is_one_for_peft_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = Twins(of_layers=False).eval()
    network = apply_lora(plain, rank=2, targets="all_linear", dropout=0.0)
    fill(Adapters.of(network), "default")
    save_lora(network, tmp_path)
    x = torch.randn(3, 6)
    assert_near(peft.PeftModel.from_pretrained(plain, tmp_path).eval()(x), network(x), 1e-5)


def test_a_later_task_takes_the_type_of_the_slots() -> None:
    """A slot beside a packed weight is a plain fp32 one."""
    network = apply_lora(nn.Sequential(Packed(8, 6)), rank=2, targets=["0"])
    adapters = Adapters.of(network)
    adapters.commit()
    adapters.open_task("b", LoRA(rank=3))
    assert {matrix.dtype for matrix in adapters.parameters()} == {torch.float32}
