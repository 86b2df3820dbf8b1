"""The processes of one run: each takes its share of every step, what they find is added up, and the main one writes.

`torchrun` or `accelerate launch` starts them. Without these there is one, and nothing here changes a bit.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor, nn

from plora.errors import RunError


@dataclass(frozen=True)
class Processes:
    """The processes that work on one run, each with a copy of the model.

    There is no wrapper around the model that adds up gradients on its own: parameters come and go with the tasks, and
    such a wrapper knows those alone that were there when it was made.

    Args:
        rank: of this one, from 0; 0 is the main one.
        count: of them.
        device: where their messages lie.
    """

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def joined(cls) -> "Processes":
        """Join those that the launcher started with this one, if there are any, and return them."""
        several = "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1
        # Accelerate joins processes on machines without GPUs only when told to leave GPUs aside.
        on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or (several and not torch.cuda.is_available())
        state = PartialState(cpu=on_cpu)
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def share(self) -> slice:
        """Which items of any sequence are this process's: as many as any other's, or one less."""
        return slice(self.rank, None, self.count)

    @torch.no_grad()
    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace float tensors by their sums over all processes, in one message; all get the same bits."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten().to(self.device) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        sums = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, summed in zip(tensors, sums, strict=True):
            tensor.copy_(summed.view_as(tensor))

    def sum_gradients(self, parameters: Iterable[nn.Parameter], terms: Tensor) -> None:
        """Replace gradients by their sums over all processes, and with them the terms of the loss, in one message.

        A parameter that some process used has a gradient everywhere, one that none used has none.

        Args:
            parameters: all that train, in the same order in each process.
            terms: `[n]` the same ones in each process.
        """
        if self.count == 1:
            return
        trained = [*parameters]
        used = torch.tensor([float(p.grad is not None) for p in trained], device=self.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        self.sum([*gradients, used, terms])
        for parameter, gradient, times in zip(trained, gradients, used.tolist(), strict=True):
            parameter.grad = gradient if times else None

    def any(self, here: bool) -> bool:
        """Say whether something is so in any process; none goes on before all have asked."""
        found = torch.tensor([float(here)])
        self.sum([found])
        return bool(found.item())

    def agree(self, content_hash: str) -> bool:
        """Say whether all processes have the same hash (hexadecimal)."""
        found = torch.zeros(self.count, len(content_hash) // 2)
        found[self.rank] = torch.tensor([float(byte) for byte in bytes.fromhex(content_hash)])
        self.sum([found])
        return bool((found == found[self.rank]).all())

    def lead(self, act: Callable[[], object]) -> None:
        """Let the main process act, writing something, while the others wait; if it cannot, all of them end.

        What another process may read is written here and nowhere else: whatever it read before was as it is for all.

        Raises:
            RunError: in the others, when the main process failed; it says why.
        """
        self.any(False)
        if not self.main:
            if self.any(False):
                raise RunError("the main process stopped, and says why")
            return
        try:
            act()
        except Exception:
            self.any(True)
            raise
        self.any(False)
