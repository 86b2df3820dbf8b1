"""Score the tasks, and never compute a cell of the accuracy matrix that cannot have changed."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plora.batches.ahead import Ahead
from plora.batches.data import EncodedTask
from plora.batches.features import Extractor, autocast
from plora.batches.plan import plan_scoring
from plora.heads import Head
from plora.problems import Batch, Examples, Problem
from plora.results import Measurements, ScoredSplit
from plora.streams.base import SplitName
from plora.streams.incremental import LabelSpace


def measure(
    extractor: Extractor, task: EncodedTask, split: SplitName, named: str | None, space: LabelSpace, seen: Sequence[str]
) -> Measurements:
    """Return what is measured of each example of a split, in the split's own order.

    Args:
        extractor: of the model.
        task: whose split.
        split: its name.
        named: the task's name, where it is known at test time.
        space: which rows may be predicted.
        seen: tasks whose classes are known by now.
    """
    examples, visible = task.splits[split], space.visible(task.name, seen)
    problem = extractor.model.problem
    if problem.has_rows:
        block = space.blocks[task.name] if space.scenario == "task" else None
        columns = problem.measure({"scores": scores_of(extractor, examples, named, block)}, _asked(examples), visible)
    else:
        alone = extractor.model.alternatives(named)
        each = [measured(extractor, examples, slot, visible) for slot in alone or (named,)]
        columns = problem.mixed(each) if len(each) > 1 else each[0]
    names = np.full(len(examples), task.name)
    return problem.measurements(names, np.arange(len(examples), dtype=np.int32), columns, space.names)


@torch.inference_mode()
def scores_of(extractor: Extractor, examples: Examples, task: str | None, block: str | None = None) -> torch.Tensor:
    """Return scores `[N, rows]` of the head, on the CPU; features that nothing changes any more are computed once.

    Args:
        extractor: of the model.
        examples: the inputs.
        task: its name where the gate needs it.
        block: of the head, where no other may be predicted: the others are not computed, and 0.
    """
    model = extractor.model
    model.eval()
    weights = extractor.weights(examples, task)
    features = extractor.features(examples, task, weights=weights)
    given = [part.to(model.device) for part in torch.split(features, 4096)]
    if block is not None:
        own = torch.cat([model.head.block_scores(part, block) for part in given]).float().cpu()
        scores = own.new_zeros(len(own), model.head.rows)
        scores[:, model.head.slice_of(block)] = own
    else:
        scores = torch.cat([model.head(part) for part in given]).float().cpu()
    return scores if weights is None else model.confined(scores, weights)


def _asked(examples: Examples) -> Batch:
    """What the scores of all examples are compared with."""
    everything = np.arange(len(examples))
    return Batch({}, examples.targets(everything), everything)


@torch.inference_mode()
def measured(
    extractor: Extractor, examples: Examples, task: str | None, visible: NDArray[np.bool_]
) -> dict[str, NDArray[np.generic]]:
    """What is measured of each example, batch by batch: never a whole split of outputs."""
    model, processes = extractor.model, extractor.processes
    model.eval()
    found: dict[str, NDArray[np.generic]] = {}
    plan = plan_scoring(examples.costs, extractor.tokens_per_batch, examples.packed)
    mine = plan[processes.share]
    taken = mine or plan[:1]  # a process without a share has the same columns, and zeros
    with Ahead(examples, ((indices, None) for indices in taken)) as ahead:
        for indices in taken:
            batch = ahead.collate(indices).to(model.device)
            with autocast(model.device, extractor.precision), extractor.given(examples, indices):
                outputs = model.outputs(batch, task)
            for name, column in model.problem.measure(outputs, batch, visible).items():
                whole = found.setdefault(name, np.zeros((len(examples), *column.shape[1:]), column.dtype))
                if mine:
                    whole[indices] = column
    if processes.count > 1:  # of each example one process has the numbers and the others zeros
        for name, column in found.items():
            summed = torch.from_numpy(column.astype(np.float64))
            processes.sum([summed])
            found[name] = summed.numpy().astype(column.dtype)
    return found


@dataclass
class _Still:
    """What cells have in common while the model does not change.

    Args:
        signatures: by the name of the task, where it is known at test time, and the tasks that compete with it.
        head: with rows for every class.
    """

    signatures: dict[tuple[str | None, tuple[str, ...]], str]
    head: Head | None


class Scorer:
    """Scores one split of each task after each stage.

    A cell whose signature has not changed is taken from the last time.

    Args:
        extractor: of the model, whose state moves on between calls.
        space: which rows may be predicted.
        tasks: all tasks of the stream, in order.
        seed: of the run; decides the untrained head rows of row 0 and of unseen tasks.
        split: which is scored.
    """

    def __init__(
        self,
        extractor: Extractor,
        space: LabelSpace,
        tasks: Sequence[EncodedTask],
        seed: int,
        split: ScoredSplit = "test",
    ) -> None:
        self.extractor, self.model = extractor, extractor.model
        self.space, self.tasks, self.seed, self.split = space, tasks, seed, split
        self._known: dict[str, tuple[str, Measurements]] = {}
        self.untrained: dict[str, Measurements] = {}  # row 0
        self._still: _Still | None = None

    @contextmanager
    def still(self) -> Iterator[None]:
        """Know inside the `with` block that the model does not change: what many cells have in common is made once."""
        self._still = _Still({}, None)
        try:
            yield
        finally:
            self._still = None

    def seen(self, task: EncodedTask, seen: Sequence[str], reuse: bool = True) -> Measurements:
        """Score a task that has been learned.

        Args:
            task: the task.
            seen: names of all tasks learned by now.
            reuse: False computes even what cannot have changed.
        """
        signature = self._signature(task, seen)
        known = self._known.get(task.name)
        if known is not None and known[0] == signature and reuse:
            return known[1]
        result = self._score(task, seen)
        self._known[task.name] = (signature, result)
        return result

    def recall(self, task: EncodedTask, seen: Sequence[str], scores: Measurements) -> None:
        """Take over what was measured, by another process, on the state that the model is in now."""
        if task.name not in self._known:
            self._known[task.name] = (self._signature(task, seen), scores)

    def _signature(self, task: EncodedTask, seen: Sequence[str]) -> str:
        named = self._named(task)
        competing = (task.name,) if self.space.scenario == "task" else tuple(seen)
        found = {} if self._still is None else self._still.signatures
        if (named, competing) not in found:  # without a name all tasks have the same rows and the same route
            blocks = list(dict.fromkeys(self.space.blocks[name] for name in competing))
            found[named, competing] = self.model.signature(named, blocks)
        return found[named, competing]

    def unseen(self, task: EncodedTask) -> Measurements:
        """Score a task that has not been learned, with untrained head rows for every class that has none yet.

        Before the first task this is row 0 of the matrix: the pretrained backbone under a random head. Where the
        gate keeps a slot per task, an unseen task has none, and its cell stays that of row 0.
        """
        gate = self.model.gate
        if gate is not None and gate.needs_task and task.name in self.untrained:
            return self.untrained[task.name]
        head = self.model.head
        self.model.head = self._whole_head()
        everything = [other.name for other in self.tasks]
        result = self._score(task, everything)
        self.model.head = head
        self.untrained.setdefault(task.name, result)
        return result

    def _whole_head(self) -> Head:
        """A copy of the head with untrained rows for every class that has none yet."""
        if self._still is not None and self._still.head is not None:
            return self._still.head
        head = copy.deepcopy(self.model.head)
        for other in self.tasks:
            block = self.space.blocks[other.name]
            if block not in head.blocks:
                open_rows(head, self.model.problem, block, other, self.seed)
        if self._still is not None:
            self._still.head = head
        return head

    def _score(self, task: EncodedTask, seen: Sequence[str]) -> Measurements:
        return measure(self.extractor, task, self.split, self._named(task), self.space, seen)

    def _named(self, task: EncodedTask) -> str | None:
        """The task's name in the only scenario in which it is known at test time."""
        return task.name if self.space.scenario == "task" else None


def open_rows(head: Head, problem: Problem, block: str, task: EncodedTask, seed: int) -> None:
    """Open the rows of a block, or take them back into training.

    Args:
        head: that gets them.
        problem: fixes what it has to of new ones.
        block: its name.
        task: whose block it is, or which shares it.
        seed: of the run.
    """
    new = block not in head.blocks
    head.open(block, task.classes, block_generator(seed, block))
    if new:
        problem.opened(head, block, task.splits["train"])


def block_generator(seed: int, block: str) -> torch.Generator:
    """Return the generator that draws a head block: a function of the run's seed and the block's name alone."""
    digest = np.random.SeedSequence([seed, *block.encode()]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(digest) % 2**63)
