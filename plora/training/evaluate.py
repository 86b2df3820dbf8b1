"""Score the test splits, and never compute a cell of the accuracy matrix that cannot have changed."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plora.model import ContinualModel
from plora.streams.incremental import LabelSpace
from plora.training.data import EncodedSplit, EncodedTask
from plora.training.plan import Indices, plan_scoring


@dataclass(frozen=True)
class Scores:
    """What the model says of N examples.

    Args:
        rows: `[N]` true rows.
        predictions: `[N]` predicted rows.
        probabilities: `[N]` float32, softmax over the visible rows, of the prediction.
        loss: mean cross-entropy over the visible rows.
    """

    rows: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of examples whose prediction is the true row."""
        return float((self.predictions == self.rows).mean())


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Return the autocast context of a precision (`bf16`, or `fp32` for none)."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


@torch.inference_mode()
def probabilities(
    model: ContinualModel,
    split: EncodedSplit,
    task: str | None,
    visible: NDArray[np.bool_],
    precision: str,
    tokens_per_batch: int,
) -> torch.Tensor:
    """Return softmax over the visible rows, `[N, rows]`, 0 in the others; in the split's own order, on the CPU."""
    model.eval()
    mask = torch.from_numpy(visible).to(model.device)
    result = torch.empty(len(split.inputs), len(visible))
    for indices, inputs in _batches(model, split, tokens_per_batch):
        with autocast(model.device, precision):
            scores = model(inputs, task)
        padded = scores.new_full((len(indices), len(visible)), float("-inf"), dtype=torch.float32)
        padded[:, : scores.shape[1]] = scores.float()
        result[torch.from_numpy(indices)] = padded.masked_fill(~mask, float("-inf")).softmax(dim=1).cpu()
    return result


def _batches(
    model: ContinualModel, split: EncodedSplit, tokens_per_batch: int
) -> Iterator[tuple[Indices, dict[str, torch.Tensor]]]:
    for indices in plan_scoring(split.inputs.lengths, tokens_per_batch):
        inputs = model.problem.collate(split.inputs, indices)
        yield indices, {name: tensor.to(model.device) for name, tensor in inputs.items()}


def score(
    model: ContinualModel,
    split: EncodedSplit,
    task: str | None,
    visible: NDArray[np.bool_],
    precision: str,
    tokens_per_batch: int,
) -> Scores:
    """Score one split; see `probabilities` for the arguments."""
    p = probabilities(model, split, task, visible, precision, tokens_per_batch)
    best, predictions = p.max(dim=1)
    true = p[torch.arange(len(p)), torch.from_numpy(split.rows)]
    return Scores(split.rows, predictions.numpy(), best.numpy(), float(-true.clamp_min(1e-12).log().mean()))


class Scorer:
    """Scores test splits after each stage; a cell whose signature has not changed is taken from the last time.

    Args:
        model: the model, whose state moves on between calls.
        space: which rows may be predicted.
        tasks: all tasks of the stream, in order.
        seed: of the run; decides the untrained head rows of row 0 and of unseen tasks.
        precision, tokens_per_batch: as in training and evaluation settings.
    """

    def __init__(
        self,
        model: ContinualModel,
        space: LabelSpace,
        tasks: Sequence[EncodedTask],
        seed: int,
        precision: str,
        tokens_per_batch: int,
    ) -> None:
        self.model, self.space, self.tasks, self.seed = model, space, tasks, seed
        self.precision, self.tokens_per_batch = precision, tokens_per_batch
        self._known: dict[str, tuple[str, Scores]] = {}
        self._untrained: dict[str, Scores] = {}

    def seen(self, task: EncodedTask, seen: Sequence[str], reuse: bool = True) -> Scores:
        """Score a task that has been learned.

        Args:
            task: the task.
            seen: names of all tasks learned by now.
            reuse: False computes even what cannot have changed.
        """
        competing = [task.name] if self.space.scenario == "task" else seen
        blocks = list(dict.fromkeys(self.space.blocks[name] for name in competing))
        signature = self.model.signature(task.name, blocks)
        known = self._known.get(task.name)
        if known is not None and known[0] == signature and reuse:
            return known[1]
        result = self._score(task, self.space.visible(task.name, seen))
        self._known[task.name] = (signature, result)
        return result

    def unseen(self, task: EncodedTask) -> Scores:
        """Score a task that has not been learned, with untrained head rows for every class that has none yet.

        Before the first task this is row 0 of the matrix: the pretrained backbone under a random head. Where the
        gate keeps a slot per task, an unseen task has none, and its cell stays that of row 0.
        """
        gate = self.model.gate
        if gate is not None and gate.needs_task and task.name in self._untrained:
            return self._untrained[task.name]
        head = self.model.head
        self.model.head = copy.deepcopy(head)
        for other in self.tasks:
            block = self.space.blocks[other.name]
            if block not in self.model.head.blocks:
                self.model.head.open(block, other.classes, block_generator(self.seed, block))
        everything = [other.name for other in self.tasks]
        result = self._score(task, self.space.visible(task.name, everything))
        self.model.head = head
        self._untrained.setdefault(task.name, result)
        return result

    def _score(self, task: EncodedTask, visible: NDArray[np.bool_]) -> Scores:
        return score(self.model, task.splits["test"], task.name, visible, self.precision, self.tokens_per_batch)


def block_generator(seed: int, block: str) -> torch.Generator:
    """Return the generator that draws a head block: a function of the run's seed and the block's name alone."""
    digest = np.random.SeedSequence([seed, *block.encode()]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(digest) % 2**63)


@torch.inference_mode()
def collect_features(
    model: ContinualModel, split: EncodedSplit, task: str, precision: str, tokens_per_batch: int
) -> torch.Tensor:
    """Return the features of a split, `[N, d]` on the CPU, in its own order."""
    model.eval()
    result = torch.empty(len(split.inputs), model.head.features)
    for indices, inputs in _batches(model, split, tokens_per_batch):
        with autocast(model.device, precision):
            result[torch.from_numpy(indices)] = model.features(inputs, task).float().cpu()
    return result
