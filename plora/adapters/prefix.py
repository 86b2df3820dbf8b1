"""The blocks below the first adapted one: nothing that trains can change what they make of an input."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from plora.adapters.blocks import find_blocks
from plora.adapters.place import Place


class _ReachedError(Exception):
    """Ends a forward pass where its first adapted block begins."""

    def __init__(self, states: object) -> None:
        self.states = states


class Prefix:
    """The first k blocks of a network, none of which is adapted, and the block after them.

    Args:
        network: whose blocks they are.
        blocks: the k blocks.
        first: the first adapted one.
    """

    def __init__(self, network: nn.Module, blocks: Sequence[nn.Module], first: nn.Module) -> None:
        self.network, self.blocks, self.first = network, tuple(blocks), first

    def __len__(self) -> int:
        return len(self.blocks)

    @classmethod
    def of(cls, network: nn.Module) -> "Prefix | None":
        """Return the prefix of an adapted network; None where its first block, or a layer outside, is adapted."""
        blocks = find_blocks(network)
        adapted = [_adapted(block) for _, block in blocks]
        k = next((number for number, layers in enumerate(adapted) if layers), 0)
        lists = {path.rpartition(".")[0] for path, _ in blocks[: k + 1]}
        if k == 0 or len(lists) > 1 or _adapted(network) - set().union(*adapted):
            return None
        return cls(network, [block for _, block in blocks[:k]], blocks[k][1])

    def states(self, inputs: Mapping[str, Tensor]) -> object:
        """Return what enters the first adapted block; a tensor `[B, T, d]`, unless the network is of another kind.

        Args:
            inputs: what the network takes.
        """

        def stop(_: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            raise _ReachedError([*args, *kwargs.values()][0])

        hook = self.first.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.network(**inputs)
        except _ReachedError as reached:
            return reached.states
        finally:
            hook.remove()
        return None

    @contextmanager
    def given(self, states: Tensor) -> Iterator[None]:
        """Let the blocks compute nothing inside the `with` block: the first adapted one gets `states` `[B, T, d]`."""

        def stand_in(*_: object, **__: object) -> Tensor:
            return states

        own = [vars(block).get("forward") for block in self.blocks]  # activation checkpointing has put one there
        for block in self.blocks:
            setattr(block, "forward", stand_in)  # noqa: B010  (plain attributes, to the type checker)
        try:
            yield
        finally:
            for block, forward in zip(self.blocks, own, strict=True):
                if forward is None:
                    delattr(block, "forward")
                else:
                    setattr(block, "forward", forward)  # noqa: B010


def _adapted(module: nn.Module) -> set[nn.Module]:
    return {inner for inner in module.modules() if isinstance(inner, Place)}
