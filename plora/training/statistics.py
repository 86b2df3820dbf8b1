"""BatchNorm's running statistics, which move once per optimizer step however many forward passes that has."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_NAMES = ("running_mean", "running_var", "num_batches_tracked")


class StepStatistics:
    """r ← Σ_i n_i / n ((1 − m) r + m s_i), s_i what pass i of a step sees in n_i of its n examples, m the momentum.

    A step is what the optimizer takes: all passes in its micro-batches, and in examples that strategies rehearse, start
    from the same statistics, and the step leaves the mean of what each of them made of these. So the number of
    micro-batches does not change how far statistics move, and a block that is computed again for backward, or a step
    that is taken again because memory was full, moves nothing. What a pass normalizes with in train mode is its own
    micro-batch, as ever.

    Args:
        moving: buffers that may change while a task is learned, by name; others than statistics are left alone.
    """

    def __init__(self, moving: Mapping[str, Tensor]) -> None:
        self.buffers = [buffer for name, buffer in moving.items() if name.rpartition(".")[2] in _NAMES]
        self._before: list[Tensor] = []
        self._seen: list[tuple[int, list[Tensor]]] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """Inside the `with` block one step is taken; where it fails, nothing has moved."""
        self._before, self._seen = _copies(self.buffers), []
        try:
            yield
        except BaseException:
            self._put(self._before)
            raise
        if len(self._seen) == 1:
            self._put(self._seen[0][1])
        elif self._seen:
            examples = sum(count for count, _ in self._seen)
            shares = [count / examples for count, _ in self._seen]
            self._put([_mean(shares, tensors) for tensors in zip(*(own for _, own in self._seen), strict=True)])

    def passed(self, examples: int) -> None:
        """Note what a forward pass in train mode has made of the statistics, before it is propagated back."""
        self._seen.append((examples, _copies(self.buffers)))

    def restart(self) -> None:
        """Put back what the step began with, after a pass was propagated back: the next one starts from there."""
        self._put(self._before)

    @torch.no_grad()
    def _put(self, tensors: Sequence[Tensor]) -> None:
        for buffer, tensor in zip(self.buffers, tensors, strict=True):
            buffer.copy_(tensor)


def _copies(buffers: Sequence[Tensor]) -> list[Tensor]:
    return [buffer.detach().clone() for buffer in buffers]


def _mean(shares: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    if not tensors[0].is_floating_point():  # a count of batches: one more, whatever the passes
        return tensors[0]
    return torch.stack([share * tensor for share, tensor in zip(shares, tensors, strict=True)]).sum(0)
