"""Features of the bare network at several depths: what enters each block from the first adapted one on."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from plora.adapters.depths import entering, upper_blocks
from plora.adapters.prefix import Prefix
from plora.gates import Router
from plora.model import ContinualModel
from plora.testing.tiny import open_filled, tiny_inputs, tiny_model


def filled(layers: str = "all") -> ContinualModel:
    """A DistilBERT of two blocks with a committed slot."""
    model = tiny_model(Router(), layers)
    open_filled(model, "first")
    model.commit()
    return model


def states(model: ContinualModel) -> list[Tensor]:
    """What `transformers` itself says of the bare network: what enters the first block, and what leaves each."""
    assert model.adapters is not None
    with torch.no_grad(), model.adapters.using([]):
        found: tuple[Tensor, ...] = model.backbone(**tiny_inputs(model), output_hidden_states=True).hidden_states
    return list(found)


@pytest.mark.parametrize(("layers", "first"), [("all", 0), ("last 1", 1)])
def test_they_are_the_means_over_tokens_of_the_hidden_states(layers: str, first: int) -> None:
    model = filled(layers)
    inputs = tiny_inputs(model)
    with torch.no_grad():
        found = model.bare_features(inputs)
    expected = torch.stack([model.problem.features(state, inputs) for state in states(model)[first:]], 1)
    assert found.shape == (8, 3 - first, 16)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not torch.allclose(found[:, -1], model.features(inputs, "first"), atol=1e-3)  # the slot takes no part


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


def test_states_of_another_shape_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = filled()
    inputs = tiny_inputs(model)
    with torch.no_grad():
        expected = model.bare_features(inputs)[:, -1:]
        monkeypatch.setattr("plora.model.entering", lambda _: nullcontext([torch.zeros(8, 2, 16), torch.zeros(8, 16)]))
        torch.testing.assert_close(model.bare_features(inputs), expected, rtol=0, atol=0)


def test_nothing_of_it_stays_in_the_network() -> None:
    model = filled()
    with entering(model.backbone) as found, pytest.raises(ValueError, match="exactly one"):
        model.backbone()
    assert found == []
    assert all(not block._forward_pre_hooks for block in upper_blocks(model.backbone))
