"""Which layers are found, by structure, in every supported architecture."""

import warnings

import pytest
import torch
from tiny_networks import add_slot, base_state, mlp, outputs, tiny
from torch import Tensor, nn
from transformers import (
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from plora.adapters import AdaptedLinear, Adapters, LoRA, Route, apply_lora, find_blocks, find_targets, merge_lora
from plora.errors import AdapterError

# per block: path of q, k, v, o (a fused projection in braces), then the MLP; then what only all_linear wraps
_EXPECTED: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "distilbert": (
        ["transformer.layer.{}"],
        ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"],
        ["ffn.lin1", "ffn.lin2"],
        [],
    ),
    "bert": (
        ["encoder.layer.{}"],
        [*(f"attention.self.{name}" for name in ("query", "key", "value")), "attention.output.dense"],
        ["intermediate.dense", "output.dense"],
        ["pooler.dense"],
    ),
    "roberta": (
        ["encoder.layer.{}"],
        [*(f"attention.self.{name}" for name in ("query", "key", "value")), "attention.output.dense"],
        ["intermediate.dense", "output.dense"],
        ["pooler.dense"],
    ),
    "modernbert": (["layers.{}"], ["attn.Wqkv"] * 3 + ["attn.Wo"], ["mlp.Wi", "mlp.Wo"], []),
    "gpt2": (["h.{}"], ["attn.c_attn"] * 3 + ["attn.c_proj"], ["mlp.c_fc", "mlp.c_proj"], []),
    "vit": (["layers.{}"], [f"attention.{x}_proj" for x in "qkvo"], ["mlp.fc1", "mlp.fc2"], ["pooler.dense"]),
    "t5": (
        ["encoder.block.{}", "decoder.block.{}"],
        [f"layer.0.SelfAttention.{x}" for x in "qkvo"],
        ["layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo"],
        [],
    ),
}


def expected(kind: str, roles: str, mlp_layers: bool) -> dict[str, set[str]]:
    """Path → sites."""
    containers, attention, mlp_names, _ = _EXPECTED[kind]
    found: dict[str, set[str]] = {}
    for container in containers:
        for n in range(2):
            block = container.format(n)
            names = list(zip("qkvo", attention, strict=True))
            mlps = mlp_names
            if container.startswith("decoder"):
                names += [(x, f"layer.1.EncDecAttention.{x}") for x in "qkvo"]
                mlps = [name.replace("layer.1", "layer.2") for name in mlp_names]
            for role, name in names:
                if role in roles:
                    fused = name in ("attn.Wqkv", "attn.c_attn")
                    found.setdefault(f"{block}.{name}", set()).add(role if fused else "whole")
            if mlp_layers:
                found.update({f"{block}.{name}": {"whole"} for name in mlps})
    return found


def sites(network: nn.Module, targets: str | list[str]) -> dict[str, set[str]]:
    return {target.path: set(target.sites) for target in find_targets(network, targets)}


@pytest.mark.parametrize("kind", _EXPECTED)
def test_exact_layers(kind: str) -> None:
    network = tiny(kind)
    assert sites(network, "attention") == expected(kind, "qkvo", False)
    assert sites(network, "attention:qv") == expected(kind, "qv", False)
    assert sites(network, "attention:qkv") == expected(kind, "qkv", False)
    assert sites(network, "mlp") == expected(kind, "", True)
    everything = expected(kind, "qkvo", True) | {path: {"whole"} for path in _EXPECTED[kind][3]}
    assert sites(network, "all_linear") == {path: {"whole"} for path in everything}
    leaf = next(iter(everything)).rpartition(".")[2]
    named = {path for path in everything if path.endswith(f".{leaf}")}
    assert sites(network, [leaf]) == {path: {"whole"} for path in named}
    second = {path for path in everything if "1." in path and path.endswith(leaf) and ".0." not in f".{path}"}
    if second:  # a regular expression has to match the whole path
        pattern = r".*\b1\." + r".*" + leaf
        assert second <= sites(network, pattern).keys() <= named


@pytest.mark.parametrize("kind", _EXPECTED)
@pytest.mark.parametrize("targets", ["attention:qv", "all_linear"])
def test_every_adapted_layer_takes_part(kind: str, targets: str) -> None:
    network = tiny(kind).requires_grad_(False)  # torch chooses attention kernels by what needs a gradient
    plain = outputs(network)
    network = apply_lora(network, rank=2, targets=targets, dropout=0.0)
    with torch.no_grad():
        assert torch.equal(outputs(network), plain)
    outputs(network).square().sum().backward()
    silent = [path for path, bank in Adapters.of(network).banks.items() if bank.B.grad is None]
    assert silent == [path for path in _EXPECTED[kind][3] if targets == "all_linear"]  # poolers feed another output


@pytest.mark.parametrize("kind", ["modernbert", "gpt2"])
def test_fused_q_and_v_leave_k_alone(kind: str) -> None:
    network = tiny(kind)
    path = {"modernbert": "layers.1.attn.Wqkv", "gpt2": "h.1.attn.c_attn"}[kind]
    x = torch.randn(2, 5, 32)
    q, k, v = network.get_submodule(path)(x).split(32, dim=-1)
    adapters = Adapters.inject(network, "attention:qv")
    add_slot(adapters, "a", rank=3)
    layer = network.get_submodule(path)
    assert list(layer.sites) == ["q", "v"]
    got_q, got_k, got_v = layer(x).split(32, dim=-1)
    assert torch.equal(got_k, k)
    for got, plain, site in ((got_q, q, "q"), (got_v, v, "v")):
        torch.testing.assert_close(got, plain + x @ adapters["a"].delta()[f"{path}[{site}]"].T)


def test_fused_qkv_is_three_separate_adapters() -> None:
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self, fused: bool) -> None:
            super().__init__()
            names = ("qkv",) if fused else ("q", "k", "v")
            for name in names:
                self.add_module(name, nn.Linear(6, 18 if fused else 6))

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([layer(x) for layer in self.children()], dim=-1)

    def network(fused: bool) -> nn.Module:
        block = [nn.ModuleDict({"attn": Attention(fused)}) for _ in range(2)]
        return nn.ModuleDict({"blocks": nn.ModuleList(block)})

    fused, separate = network(True), network(False)
    for number in range(2):
        whole = fused.get_submodule(f"blocks.{number}.attn.qkv")
        for i, name in enumerate("qkv"):
            part = separate.get_submodule(f"blocks.{number}.attn.{name}")
            part.load_state_dict({"weight": whole.weight[6 * i : 6 * i + 6], "bias": whole.bias[6 * i : 6 * i + 6]})
    one, three = Adapters.inject(fused, "attention:qkv"), Adapters.inject(separate, "attention:qkv")
    one.open_task("a", LoRA(rank=2, dropout=0.0))
    three.open_task("a", LoRA(rank=2, dropout=0.0))
    assert len(one.banks) == len(three.banks) == 6
    with torch.no_grad():
        for source, target in zip(one.banks.values(), three.banks.values(), strict=True):
            source.B.normal_()
            target.A.copy_(source.A)
            target.B.copy_(source.B)
    x = torch.randn(3, 6)
    for number in range(2):
        left, right = (net.get_submodule(f"blocks.{number}.attn")(x) for net in (fused, separate))
        torch.testing.assert_close(left, right)


def test_grouped_queries_warn_when_they_cannot_be_cut() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv_proj = nn.Linear(8, 12)

    network = nn.ModuleList([nn.ModuleDict({"self_attn": Attention()}) for _ in range(2)])
    with pytest.warns(UserWarning, match="cannot be cut into q, k and v"):
        found = find_targets(network, "attention:qv")
    assert [set(target.sites) for target in found] == [{"whole"}] * 2


# ---------------------------------------------------------------------- naming


def test_names_that_match_in_part_warn_with_the_rest() -> None:
    network = tiny("bert")
    with pytest.warns(
        UserWarning, match=r"\['qurey'\] match no linear layer of BertModel .*\(2 layers matched"
    ) as seen:
        found = find_targets(network, ["value", "qurey"])
    assert [target.path for target in found] == [f"encoder.layer.{n}.attention.self.value" for n in range(2)]
    assert "encoder.layer.N.attention.self.query" in str(seen[0].message)


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (["q_prj"], "match no linear layer of ViTModel; did you mean 'q_proj'"),
        ([], "match no linear layer"),
        ("atention", "matches no linear layer; did you mean 'attention'"),
        (r"layers\.9\..*", "or a regular expression for the whole path"),
        ("attention[", "is not a regular expression"),
    ],
)
def test_nothing_matches(targets: str | list[str], says: str) -> None:
    with pytest.raises(AdapterError) as caught:
        find_targets(tiny("vit"), targets)
    assert says in str(caught.value)
    if "regular expression:" not in str(caught.value):
        assert "layers.N.attention.q_proj" in str(caught.value)


def test_a_part_of_a_name_is_not_a_name() -> None:
    with pytest.raises(AdapterError):
        find_targets(tiny("vit"), ["proj"])
    assert [t.path for t in find_targets(tiny("bert"), ["attention.output.dense"])] == [
        f"encoder.layer.{n}.attention.output.dense" for n in range(2)
    ]


def test_plain_networks() -> None:
    network = mlp()
    assert sites(network, "all_linear") == {"0": {"whole"}, "2": {"whole"}}
    assert sites(network, ["2"]) == {"2": {"whole"}}
    assert sites(network, r"\d") == {"0": {"whole"}, "2": {"whole"}}
    with pytest.raises(AdapterError, match=r"no attention layers .* Linear layers: 0, 2"):
        find_targets(network, "attention")
    with pytest.raises(AdapterError, match="ReLU has no linear layer to adapt"):
        find_targets(nn.ReLU(), "all_linear")
    with pytest.raises(AdapterError, match=r"no adapters; call plora\.apply_lora"):
        Adapters.of(network)


def test_blocks_without_attention_fall_back_with_a_warning() -> None:
    network = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)])
    with pytest.warns(UserWarning, match="adapting all 3 linear layers of its blocks"):
        assert sites(network, "attention") == {f"{n}.0": {"whole"} for n in range(3)}


def test_uneven_blocks_warn() -> None:
    def block(attention: bool) -> nn.Module:
        return nn.ModuleDict({"attn_q_proj" if not attention else "q_proj": nn.Linear(4, 4)})

    network = nn.ModuleDict({"layers": nn.ModuleList([block(True), block(False), block(True)])})
    with pytest.warns(UserWarning, match=r"in 1 of 3 blocks: \['layers.1'\]"):
        assert set(sites(network, "attention:q")) == {"layers.0.q_proj", "layers.2.q_proj"}


def test_blocks_in_a_sequential_container() -> None:
    """timm's layout: an nn.Sequential of blocks with a fused `qkv`."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.ModuleDict({"qkv": nn.Linear(4, 12), "proj": nn.Linear(4, 4)})
            self.mlp = nn.ModuleDict({"fc1": nn.Linear(4, 8), "fc2": nn.Linear(8, 4)})

    network = nn.ModuleDict({"patch": nn.Linear(4, 4), "blocks": nn.Sequential(Block(), Block())})
    assert [path for path, _ in find_blocks(network)] == ["blocks.0", "blocks.1"]
    attention = {f"blocks.{n}.attn.qkv": {"q", "v"} for n in range(2)}
    assert sites(network, "attention:qv") == attention
    assert set(sites(network, "mlp")) == {f"blocks.{n}.mlp.fc{i}" for n in range(2) for i in (1, 2)}


@pytest.mark.parametrize("kind", _EXPECTED)
def test_blocks(kind: str) -> None:
    assert [path for path, _ in find_blocks(tiny(kind))] == [
        container.format(n) for container in _EXPECTED[kind][0] for n in range(2)
    ]


# ---------------------------------------------------------------------- layers that need care


def test_multihead_attention_is_refused() -> None:
    network = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "out": nn.Linear(8, 2)})
    for targets in ("all_linear", ["out_proj"]):
        with pytest.raises(AdapterError, match=r"'attention.out_proj' belongs to nn.MultiheadAttention"):
            find_targets(network, targets)
    assert sites(network, ["out"]) == {"out": {"whole"}}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_torch_encoder_layers_do_not_bypass_their_adapters() -> None:
    """In eval mode without gradients nn.TransformerEncoderLayer multiplies with the weights of its layers itself."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    plain = nn.TransformerEncoder(layer, 2).eval()
    x, mask = torch.randn(3, 4, 8), torch.tensor([[False] * 4, [False] * 3 + [True], [False] * 4])
    network = apply_lora(plain, rank=2, targets=["linear1", "linear2"], dropout=0.0)
    adapters = Adapters.of(network)
    assert len(adapters.banks) == 4
    seen = ~mask[..., None]
    torch.testing.assert_close(network(x, src_key_padding_mask=mask) * seen, plain(x, src_key_padding_mask=mask) * seen)
    with torch.no_grad():
        for bank in adapters.banks.values():
            bank.B.normal_()
        fast = network(x, src_key_padding_mask=mask)
    torch.testing.assert_close(fast * seen, network(x, src_key_padding_mask=mask) * seen)
    assert not torch.allclose(fast * seen, plain(x, src_key_padding_mask=mask) * seen, atol=1e-2)


def test_output_heads_only_when_named() -> None:
    classifier = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=20, dim=8, n_layers=2, n_heads=2, hidden_dim=16, num_labels=3)
    )
    found = sites(classifier, "all_linear")
    assert len(found) == 12
    assert not [path for path in found if "classifier" in path]
    assert set(sites(classifier, ["classifier"])) == {"classifier"}
    masked = BertForMaskedLM(tiny("bert").config)
    assert not [path for path in sites(masked, "all_linear") if path.startswith("cls.")]


def test_tied_output_heads() -> None:
    network = tiny("gpt2-lm")
    embedding = network.get_input_embeddings()
    assert network.lm_head.weight is embedding.weight
    assert "lm_head" not in sites(network, "all_linear")
    original, plain = embedding.weight.detach().clone(), outputs(network)
    adapted = apply_lora(network, rank=2, targets=["lm_head"], dropout=0.0)
    assert isinstance(adapted.lm_head, AdaptedLinear)
    assert adapted.lm_head.weight is adapted.get_input_embeddings().weight
    assert torch.equal(outputs(adapted), plain)
    with torch.no_grad():
        Adapters.of(adapted).banks["lm_head"].B.normal_()
    unmerged = outputs(adapted)
    merged = merge_lora(adapted)
    torch.testing.assert_close(outputs(merged), unmerged, rtol=1e-5, atol=1e-5)
    assert torch.equal(merged.get_input_embeddings().weight, original)
    assert not torch.equal(merged.lm_head.weight, original)
    assert torch.equal(adapted.get_input_embeddings().weight, original)


def test_a_module_used_twice_is_wrapped_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.again = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.first(x).tanh())

    torch.manual_seed(0)
    network = Twice()
    adapters = Adapters.inject(network, "all_linear")
    assert len(adapters.layers) == 1
    assert network.first is network.again
    add_slot(adapters, "a")
    x = torch.randn(2, 4)
    delta = adapters["a"].delta()["first"]
    W = network.first.base.weight + delta
    expected_output = nn.functional.linear(nn.functional.linear(x, W, network.first.bias).tanh(), W, network.first.bias)
    torch.testing.assert_close(network(x), expected_output)
    merged = merge_lora(network)
    assert merged.first is merged.again
    torch.testing.assert_close(merged(x), expected_output)


def test_the_base_is_frozen_and_named_as_before() -> None:
    network = tiny("bert")
    before = base_state(network)
    adapters = Adapters.inject(network, "attention")
    assert not any(p.requires_grad for p in network.parameters())
    assert base_state(network).keys() == before.keys()
    assert [bank.index for bank in adapters.banks.values()] == list(range(8))
    adapters.use(Route())


# ---------------------------------------------------------------------- published counts


def trainable(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_distilbert_rank_4_with_a_head_of_4_classes() -> None:
    with torch.device("meta"):
        network = nn.ModuleDict({"network": DistilBertModel(DistilBertConfig())})
        Adapters.inject(network, "attention").open_task("a", LoRA(rank=4, alpha=1, init="gauss"))
        network["head"] = nn.Linear(768, 4)
    assert trainable(network) == 150_532


def test_vit_large_rank_16_on_q_and_v() -> None:
    config = ViTConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
    with torch.device("meta"):
        network = apply_lora(ViTModel(config), rank=16, targets="attention:qv", copy=False)
    assert trainable(network) == 1_572_864


def test_t5_large_rank_8_on_q_and_v() -> None:
    config = T5Config(d_model=1024, d_ff=4096, d_kv=64, num_heads=16, num_layers=24)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("error")
        network = apply_lora(T5Model(config), rank=8, targets="attention:qv", copy=False)
    assert trainable(network) == 2_359_296
