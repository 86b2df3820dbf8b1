"""What goes into every bank and comes out of it, with the graph: for Fisher information and the like."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from plora.adapters.bank import Bank
from plora.adapters.slots import Adapters


@dataclass(frozen=True)
class Passed:
    """One call of one bank.

    Args:
        path: of the bank's layer.
        x: `[B, …, I]` its input, without graph; beside a convolution what each position of its output reads.
        y: `[B, …, O]` its output; the gradient of a loss with respect to it is that of the bank's share.
    """

    path: str
    x: Tensor
    y: Tensor


@contextmanager
def captured(adapters: Adapters) -> Iterator[list[Passed]]:
    """Collect every call of the adapters' banks inside the `with` block, in the order of the calls.

    A layer that is called twice stands there twice: its gradients are added before anything is squared.
    """
    found: list[Passed] = []
    with watched(adapters, found.append):
        yield found


@contextmanager
def watched(adapters: Adapters, see: Callable[[Passed], None]) -> Iterator[None]:
    """Show every call of the adapters' banks inside the `with` block when it is made, and keep none."""

    def show(bank: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(bank, Bank)
        x = inputs[0].detach()
        if bank.window is not None:
            x = bank.window.unfold(x).reshape(*output.shape[:-1], bank.in_features)
        see(Passed(bank.path, x, output))

    handles = [bank.register_forward_hook(show) for bank in adapters.banks.values()]
    try:
        with adapters.switch.keeping_activations():
            yield
    finally:
        for handle in handles:
            handle.remove()
