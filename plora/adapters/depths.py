"""What a network makes of an input on its way up: early blocks show where a text is from, late ones what it says."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from plora.adapters.inject import find_blocks
from plora.adapters.linear import adapted_layers


def upper_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks from the first adapted one on; all of them where none is adapted.

    Those below it are left out because they do not run where their work is kept (`Prefix`).
    """
    blocks = [block for _, block in find_blocks(network)]
    first = next((number for number, block in enumerate(blocks) if adapted_layers(block)), 0)
    return blocks[first:]


@contextmanager
def entering(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what enters each of the `upper_blocks` inside the `with` block, in the order of the calls."""
    found: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        states = next(iter([*args, *kwargs.values()]), None)
        if isinstance(states, Tensor):
            found.append(states)

    handles = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in upper_blocks(network)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
