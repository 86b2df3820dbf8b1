"""Σ xᵀx of what goes into every bank: the energy of a task's inputs, direction by direction."""

import hashlib
from functools import reduce

import torch
from torch import Tensor

from plora.adapters.capture import Passed, watched
from plora.batches.plan import plan_scoring
from plora.errors import AdapterError
from plora.lesson import Lesson
from plora.model import ContinualModel

TOKENS = 2048
"""In one pass on a CPU, padding included."""
GPU_TOKENS = 16_384
"""The same on a GPU, which a small pass does not keep busy."""

Readers = tuple[str, ...]
"""Paths of banks that read the same input, as q, k and v of a block do."""


@torch.no_grad()
def input_covariances(model: ContinualModel, lesson: Lesson) -> dict[Readers, Tensor]:
    """Return Σ xᵀx over all tokens of the training split, `[I, I]` fp64, for banks that read the same input once.

    One pass in eval mode, under the route with which the task trains. An input that several banks read one after the
    other is multiplied once. Positions that `attention_mask` hides are left out: what stands there depends on the rest
    of the batch, and nobody reads it. A bank that no example reaches has zeros.

    Args:
        model: with the task's slot and rows open; its mode is the same afterwards.
        lesson: the task.

    Raises:
        AdapterError: several processes share the work, and the inputs in them reach different banks.
    """
    assert model.adapters is not None
    training, banks = model.training, model.adapters.banks
    model.eval()
    most = GPU_TOKENS if model.device.type == "cuda" else TOKENS
    plan = plan_scoring(lesson.train.costs, most, lesson.train.packed)
    mine = plan[lesson.processes.share]
    products = _Products()
    for part in mine or plan[:1]:  # a process without a share has the same banks, and zeros
        batch = lesson.train.collate(part).to(model.device)
        products.inside = batch.inputs.get("attention_mask")
        with watched(model.adapters, products.see), lesson.autocast():
            model.outputs(batch, lesson.task)
        products.add()
    model.train(training)
    sums = products.sums
    for path, bank in banks.items():
        if not any(path in readers for readers in sums):
            width = bank.in_features
            sums[(path,)] = torch.zeros(width, width, dtype=torch.double, device=model.device)
    if not lesson.processes.agree(hashlib.sha256(repr([*sums]).encode()).hexdigest()):
        raise AdapterError(
            "the inputs of this task reach other layers in one process than in another, so what they span cannot be "
            "added up; learn it in a single process"
        )
    if not mine:
        for total in sums.values():
            total.zero_()
    lesson.processes.sum([*sums.values()])
    alike: dict[tuple[Readers, ...], list[str]] = {}
    for path in banks:
        alike.setdefault(tuple(readers for readers in sums if path in readers), []).append(path)
    return {tuple(paths): reduce(torch.add, (sums[readers] for readers in parts)) for parts, paths in alike.items()}


class _Products:
    """xᵀx of one input after the other, added up for all that read it.

    Attributes:
        sums: so far.
        inside: `[B, T]` which positions of the batch count, or None where all do.
    """

    def __init__(self) -> None:
        self.sums: dict[Readers, Tensor] = {}
        self.inside: Tensor | None = None
        self._readers: Readers = ()
        self._x: Tensor | None = None  # what they read; held, so that no other tensor gets its memory
        self._version = 0
        self._product = torch.empty(0)

    def see(self, passed: Passed) -> None:
        """Take the input of one call of a bank."""
        x, inside = passed.x, self.inside
        if self._x is None or self._version != x._version or not _same(self._x, x):
            self.add()
            rows = x[inside.bool()] if inside is not None and x.shape[:-1] == inside.shape else x.flatten(0, -2)
            rows = rows.double()  # autocast leaves fp64 alone
            self._x, self._version, self._product = x, x._version, rows.T @ rows
        self._readers += (passed.path,)

    def add(self) -> None:
        """Add the last input: nobody else reads it."""
        if self._readers in self.sums:
            self.sums[self._readers] += self._product
        elif self._readers:
            self.sums[self._readers] = self._product
        self._readers, self._x = (), None


def _same(one: Tensor, two: Tensor) -> bool:
    """Say whether two tensors are the same place in memory."""
    of_one, of_two = ((x.data_ptr(), x.shape, x.stride(), x.dtype) for x in (one, two))
    return of_one == of_two
