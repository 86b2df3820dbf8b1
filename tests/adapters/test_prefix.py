"""The last N blocks alone are adapted, and a network can start from what enters the first of them."""

import pytest
import torch
from tiny_networks import WORDS, outputs, tiny
from torch import Tensor, nn

from plora.adapters import Adapters, LoRA, Route, apply_lora, find_targets
from plora.adapters.prefix import Prefix
from plora.errors import AdapterError


def _batch() -> tuple[dict[str, Tensor], Tensor]:
    """Three texts of 9, 5 and 3 tokens, and where they are."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(9) < torch.tensor([[9], [5], [3]])
    ids = torch.randint(3, WORDS, (3, 9), generator=generator) * mask
    return {"input_ids": ids, "attention_mask": mask.long()}, mask


def _adapted(kind: str, layers: str, targets: str = "attention") -> tuple[nn.Module, Adapters]:
    network = tiny(kind)
    adapters = Adapters.inject(network, targets, layers)
    adapters.open_task("a", LoRA(rank=2, dropout=0))
    torch.manual_seed(1)
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network, adapters


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert", "gpt2"])
def test_a_network_that_starts_from_its_states_is_the_network(kind: str) -> None:
    network, adapters = _adapted(kind, "last 1")
    inputs, inside = _batch()
    prefix = Prefix.of(network)
    assert prefix is not None
    with torch.no_grad():
        whole = network(**inputs).last_hidden_state
        states = prefix.states(inputs)
        assert isinstance(states, Tensor)
        with prefix.given(states * inside[..., None]):
            started = network(**inputs).last_hidden_state
        torch.testing.assert_close(started[inside], whole[inside], rtol=1e-5, atol=1e-6)
        with prefix.given(torch.zeros_like(states)), adapters.using(Route(("a",))):
            assert not torch.allclose(network(**inputs).last_hidden_state[inside], whole[inside], atol=1e-2)
        torch.testing.assert_close(network(**inputs).last_hidden_state, whole, rtol=0, atol=0)  # all is as before


@pytest.mark.parametrize(
    ("kind", "layers", "targets"),
    [
        ("bert", "all", "attention"),  # the first block is adapted
        ("bert", "all", r".*layer\.1\..*query|pooler\.dense"),  # so is a layer outside the blocks
        ("t5", "last 1", "attention"),  # blocks of two lists
    ],
)
def test_where_there_is_no_prefix(kind: str, layers: str, targets: str) -> None:
    assert Prefix.of(_adapted(kind, layers, targets)[0]) is None


# ---------------------------------------------------------------------- layers


@pytest.mark.parametrize("targets", ["attention", "attention:qv", "mlp", "all_linear", ["dense"], r".*\.dense"])
def test_only_the_last_blocks_are_adapted(targets: str | list[str]) -> None:
    everywhere = [target.path for target in find_targets(tiny("bert"), targets)]
    last = [target.path for target in find_targets(tiny("bert"), targets, "last 1")]
    assert last == [path for path in everywhere if path.startswith("encoder.layer.1.")]
    assert 0 < len(last) < len(everywhere)


def test_apply_lora_adapts_the_last_blocks() -> None:
    network = apply_lora(tiny("distilbert"), rank=2, layers="last 1")
    assert {path.rpartition(".attention")[0] for path in Adapters.of(network).banks} == {"transformer.layer.1"}
    torch.testing.assert_close(outputs(network), outputs(tiny("distilbert")))


@pytest.mark.parametrize(
    ("network", "targets", "layers", "message"),
    [
        ("bert", "attention", "last 3", "layers 'last 3': BertModel has 2 repeated blocks; give 'last 2' or less"),
        ("bert", ["pooler.dense"], "last 1", "such as 'pooler.dense', is inside the last 1 of 2 blocks"),
        ("bert", "attention", "first 1", "expected 'all', or 'last N' with N of 1 or more, such as 'last 3'"),
        ("bert", "attention", "last 0", "expected 'all', or 'last N'"),
        (None, "all_linear", "last 1", "Linear has no repeated blocks; give 'all'"),
    ],
)
def test_layers_that_are_not_there(network: str | None, targets: str | list[str], layers: str, message: str) -> None:
    module = nn.Sequential(nn.Linear(4, 4)) if network is None else tiny(network)
    with pytest.raises(AdapterError) as caught:
        apply_lora(module, rank=2, targets=targets, layers=layers)
    assert message.replace("Linear has", "Sequential has") in str(caught.value)
    assert "\n" not in str(caught.value)
