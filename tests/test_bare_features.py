"""Features of the bare network at several depths: of what enters each block from the first adapted one on."""

import pytest
import torch
from torch import Tensor, nn
from transformers import AlbertConfig, AlbertModel, LongformerConfig, LongformerModel, XLNetConfig, XLNetModel
from transformers.modeling_outputs import BaseModelOutput

from plora.adapters import Adapters
from plora.adapters.prefix import Prefix
from plora.gates import Router
from plora.heads import LinearHead
from plora.model import ContinualModel
from plora.problems import TextClassification
from plora.testing.tiny import open_filled, tiny_inputs, tiny_model, tiny_tokenizer


def filled(layers: str = "all") -> ContinualModel:
    """A DistilBERT of two blocks with a committed slot."""
    model = tiny_model(Router(), layers)
    open_filled(model, "first")
    model.commit()
    return model


def states(model: ContinualModel) -> list[Tensor]:
    """What enters each block of the bare network, by hooks of our own, and its output."""
    assert model.adapters is not None
    found: list[Tensor] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args: found.append(args[0]))
        for block in model.backbone.transformer.layer
    ]
    with torch.no_grad(), model.adapters.using([]):
        output = model.backbone(**tiny_inputs(model)).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*found, output]


@pytest.mark.parametrize(("layers", "first"), [("all", 0), ("last 1", 1)])
def test_they_are_the_means_over_tokens_of_what_enters_the_blocks(layers: str, first: int) -> None:
    model = filled(layers)
    inputs = tiny_inputs(model)
    with torch.no_grad():
        found = model.bare_features(inputs)
        adapted = model.features(inputs, "first")
    expected = torch.stack(
        [model.problem.features(BaseModelOutput(last_hidden_state=state), inputs) for state in states(model)[first:]], 1
    )
    assert found.shape == (8, 3 - first, 16)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found[:, -1], adapted, atol=1e-3)  # no slot takes part


def test_a_network_that_starts_from_its_prefix_has_the_same_ones() -> None:
    model = filled("last 1")
    inputs, prefix = tiny_inputs(model), Prefix.of(model.backbone)
    assert prefix is not None
    assert model.adapters is not None
    with torch.no_grad():
        whole = model.bare_features(inputs)
        with model.adapters.using([]):
            kept = prefix.states(inputs)
        assert isinstance(kept, Tensor)
        with prefix.given(kept):
            torch.testing.assert_close(model.bare_features(inputs), whole, rtol=0, atol=0)


_SHAPE = {"vocab_size": 40, "num_attention_heads": 2}
NETWORKS = {
    # It pads each batch to its window, inside.
    "longformer": (
        lambda: LongformerModel(
            LongformerConfig(
                **_SHAPE, hidden_size=32, num_hidden_layers=2, intermediate_size=32, attention_window=4, pad_token_id=0
            )
        ),
        "attention",
        3,
    ),
    # Its states are [T, B, d].
    "xlnet": (
        lambda: XLNetModel(XLNetConfig(vocab_size=40, d_model=32, n_layer=2, n_head=2, d_inner=32)),
        r".*ff.*",
        3,
    ),
    # Its two groups of layers are blocks that are called three times each: what enters which is not told.
    "albert": (
        lambda: AlbertModel(
            AlbertConfig(
                **_SHAPE,
                hidden_size=32,
                num_hidden_layers=6,
                num_hidden_groups=2,
                intermediate_size=32,
                embedding_size=8,
            )
        ),
        "attention",
        1,
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_their_number_does_not_depend_on_the_batch(kind: str) -> None:
    make, targets, depths = NETWORKS[kind]
    torch.manual_seed(0)
    network: nn.Module = make().eval()
    problem = TextClassification(tiny_tokenizer(), 16, "mean")
    model = ContinualModel(network, problem, LinearHead(32), Adapters.inject(network, targets), Router())
    for size, length in ((4, 6), (4, 8), (6, 6), (1, 3)):
        ids = torch.randint(1, 40, (size, length))
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            found = model.bare_features(inputs)
            alone = torch.stack(
                [model.bare_features({k: v[i : i + 1] for k, v in inputs.items()})[0] for i in range(size)]
            )
        assert found.shape == (size, depths, 32)
        torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)  # pooled over tokens, not over texts
