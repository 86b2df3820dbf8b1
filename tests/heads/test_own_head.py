"""A head without numbers: the network answers by itself, and blocks are names and sizes alone."""

import copy

import pytest
import torch

from plora.errors import RunError
from plora.heads import OwnHead


def test_blocks_are_counted_and_nothing_is_learned_kept_or_said() -> None:
    head, generator = OwnHead(6), torch.Generator().manual_seed(0)
    drawn = generator.get_state()
    head.open("first", 3, generator)
    head.open("second", 2, generator)
    head.open("first", 3, generator)  # taken back into training
    assert torch.equal(generator.get_state(), drawn)
    assert (head.blocks, head.rows) == ({"first": 3, "second": 2}, 5)
    assert [*head.parameters()] == []
    assert head(torch.randn(4, 6)).shape == (4, 0)
    before = head.block_hash("first")
    head.commit()
    assert head.tensors() == {}
    assert head.block_hash("first") == before == head.block_hash("second")


def test_it_is_restored_as_it_was_and_a_copy_is_a_head_of_its_own() -> None:
    head, again = OwnHead(6), OwnHead(6)
    head.open("first", 3, torch.Generator())
    again.restore(head.blocks, head.tensors())
    assert again.blocks == head.blocks
    other = copy.deepcopy(head)
    other.open("second", 2, torch.Generator())
    assert head.blocks == again.blocks == {"first": 3}


def test_rows_that_were_stored_for_it_are_refused() -> None:
    with pytest.raises(RunError, match="the network answers by itself, and 0:weight was stored for a head"):
        OwnHead(6).restore({"first": 3}, {"0:weight": torch.zeros(3, 6)})
