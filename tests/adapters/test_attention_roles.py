"""What query, key, value and output are, in networks whose layers have other names, or are fused."""

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, FunnelConfig, FunnelModel, PreTrainedModel

from benchmarks import attention
from plora.adapters import Adapters, apply_lora, find_blocks, find_targets
from plora.errors import AdapterError

SIZES = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
MLA = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
EXPECTED: dict[str, tuple[dict[str, object], str, list[str]]] = {
    "deberta-v2": (SIZES, "encoder.layer.{}.attention", ["self.query_proj", "self.key_proj", "self.value_proj"]),
    "deberta": (SIZES, "encoder.layer.{}.attention", ["self.in_proj"]),
    "phi": (SIZES, "layers.{}.self_attn", ["q_proj", "k_proj", "v_proj"]),
    "ctrl": (
        {"vocab_size": 20, "n_embd": 16, "n_layer": 2, "n_head": 2, "dff": 32, "n_positions": 32},
        "h.{}.multi_head_attention",
        ["Wq", "Wk", "Wv"],
    ),
    "xlm": (
        {"vocab_size": 20, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "pad_index": 0},
        "attentions.{}",
        ["q_lin", "k_lin", "v_lin"],
    ),
    "gpt_neox": (SIZES, "layers.{}.attention", ["query_key_value"]),
    "deepseek_v3": (
        {**SIZES, **MLA, "num_key_value_heads": 2, "moe_intermediate_size": 8, "first_k_dense_replace": 2},
        "layers.{}.self_attn",
        ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"],
    ),
    "nystromformer": (SIZES, "encoder.layer.{}.attention", ["self.query", "self.key", "self.value"]),
}
OUTPUT = {
    "deberta-v2": "output.dense",
    "deberta": "output.dense",
    "phi": "dense",
    "ctrl": "dense",
    "xlm": "out_lin",
    "gpt_neox": "dense",
    "deepseek_v3": "o_proj",
    "nystromformer": "output.dense",
}


def made(kind: str, **settings: object) -> PreTrainedModel:
    torch.manual_seed(0)
    network: PreTrainedModel = AutoModel.from_config(transformers.AutoConfig.for_model(kind, **settings)).eval()
    return network


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", EXPECTED)
def test_all_four_are_found_and_take_part(kind: str) -> None:
    settings, place, projections = EXPECTED[kind]
    network = made(kind, **settings).requires_grad_(False)
    expected = {f"{place.format(n)}.{name}" for n in range(2) for name in (*projections, OUTPUT[kind])}
    assert {target.path for target in find_targets(network, "attention")} == expected
    ids = torch.randint(3, 20, (2, 6), generator=torch.Generator().manual_seed(0))
    plain = network(input_ids=ids).last_hidden_state
    adapted = apply_lora(network, rank=2, dropout=0.0)
    found = adapted(input_ids=ids).last_hidden_state
    assert torch.equal(found, plain)
    found.square().sum().backward()
    assert all(bank.B.grad is not None for bank in Adapters.of(adapted).banks.values())


@pytest.mark.parametrize("kind", ["deberta", "gpt_neox"])
def test_a_projection_that_lies_head_by_head_is_not_cut(kind: str) -> None:
    network = made(kind, **EXPECTED[kind][0])
    with pytest.warns(UserWarning, match="cannot be cut into q, k and v; adapting all of it"):
        found = find_targets(network, "attention:qv")
    assert [list(target.sites) for target in found] == [["whole"]] * 2
    assert [target.path for target in find_targets(network, "attention:o")] == [
        f"{EXPECTED[kind][1].format(n)}.{OUTPUT[kind]}" for n in range(2)
    ]


@pytest.mark.filterwarnings("error")
def test_longformer_blocks_of_an_encoder_and_a_decoder() -> None:
    network = made(
        "led", vocab_size=20, d_model=16, encoder_layers=2, decoder_layers=1, attention_window=4,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    found = [target.path for target in find_targets(network, "attention") if target.path.startswith("encoder.layers.0")]
    prefix = "encoder.layers.0.self_attn"
    assert found == [f"{prefix}.longformer_self_attn.{x}" for x in ("query", "key", "value")] + [f"{prefix}.output"]


@pytest.mark.filterwarnings("error")
def test_networks_with_one_block() -> None:
    albert = made("albert", **(SIZES | {"embedding_size": 8, "num_hidden_layers": 3}))
    place = "encoder.albert_layer_groups.0"
    assert [path for path, _ in find_blocks(albert)] == [place]
    names = ("query", "key", "value", "dense")
    assert [target.path for target in find_targets(albert, "attention")] == [
        f"{place}.albert_layers.0.attention.{name}" for name in names
    ]
    bert = made("bert", **(SIZES | {"num_hidden_layers": 1}))
    assert [path for path, _ in find_blocks(bert)] == ["encoder.layer.0"]
    assert len(find_targets(bert, "attention:qv")) == 2
    assert [target.path for target in find_targets(bert, "mlp")] == [
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.0.output.dense",
    ]
    experts = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"experts": nn.ModuleList(
        nn.Sequential(nn.Linear(4, 4)) for _ in range(3)), "q_proj": nn.Linear(4, 4)})])})  # fmt: skip
    assert [path for path, _ in find_blocks(experts)] == ["layers.0"]


@pytest.mark.filterwarnings("error")
def test_a_list_of_lists_is_one_list() -> None:
    sizes = {"vocab_size": 20, "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 16}
    funnel = FunnelModel(FunnelConfig(**sizes, block_sizes=[1, 2]))
    blocks = [path for path, _ in find_blocks(funnel)]
    assert blocks[:3] == ["encoder.blocks.0.0", "encoder.blocks.1.0", "encoder.blocks.1.1"]
    names = ("q_head", "k_head", "v_head", "post_proj")
    assert [target.path for target in find_targets(funnel, "attention")][:4] == [
        f"{blocks[0]}.attention.{name}" for name in names
    ]


class Block(nn.Module):
    """An attention with layers of these names, and a feed-forward part."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.mixing = nn.ModuleDict({name: nn.Linear(8, 8) for name in names})
        self.mlp = nn.ModuleDict({"key": nn.Linear(8, 8), "dense": nn.Linear(8, 8)})


def test_a_role_that_no_block_has_is_named() -> None:
    network = nn.ModuleDict({"layers": nn.ModuleList(Block(["wq", "wk", "gate", "scale"]) for _ in range(2))})
    with pytest.warns(
        UserWarning, match="no value and output projection recognised in any block of ModuleDict"
    ) as seen:
        found = find_targets(network, "attention")
    assert [target.path for target in found] == [f"layers.{n}.mixing.{x}" for n in range(2) for x in ("wq", "wk")]
    assert "layers.N.mixing.gate, layers.N.mixing.scale, layers.N.mlp.key" in str(seen[0].message)


def test_the_only_other_layer_beside_q_k_and_v_is_the_output() -> None:
    network = nn.ModuleDict({"layers": nn.ModuleList(Block(["wq", "wk", "wv", "back"]) for _ in range(2))})
    assert [target.path for target in find_targets(network, "attention:o")] == [
        f"layers.{n}.mixing.back" for n in (0, 1)
    ]


class ByWeight(nn.Module):
    """Multiplies with the weight of a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.tied = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.linear(x, self.q_proj.weight, self.q_proj.bias).to(self.k_proj.weight.dtype)
        return self.k_proj(x) + self.tied(x) @ self.tied.weight


def test_a_layer_that_is_never_called_is_refused() -> None:
    network = nn.ModuleDict({"layers": nn.ModuleList(ByWeight() for _ in range(2))})
    says = (
        r"'layers\.0\.q_proj': ByWeight multiplies with the weight .* naming others: layers\.N\.k_proj, layers\.N\.tied"
    )
    for targets in ("all_linear", "attention:q", ["q_proj"]):
        with pytest.raises(AdapterError, match=says):
            find_targets(network, targets)
    assert len(find_targets(network, ["k_proj", "tied"])) == 4


@pytest.mark.slow
def test_the_table_of_every_text_network_is_what_is_found() -> None:
    """A network with half an attention stands there with what it lacks; new ones are looked at when they come."""
    written = attention.PAGE.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__}\n" not in written:
        pytest.skip("the table is of another version of transformers")
    assert attention.page() == written
    lacking = [line for line in written.splitlines() if line.startswith("| `") and not line.endswith(" |  |")]
    assert len(lacking) == 2
    assert "`jetmoe`" in lacking[0] + lacking[1]
    assert "`rwkv`" in lacking[0] + lacking[1]
