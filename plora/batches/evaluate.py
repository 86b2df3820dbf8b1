"""Score the tasks, and never compute a cell of the accuracy matrix that cannot have changed."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plora.batches.data import EncodedTask
from plora.batches.features import Extractor
from plora.problems import Examples
from plora.results import RANKS, ScoredSplit
from plora.streams.incremental import LabelSpace


@dataclass(frozen=True)
class Scores:
    """What the model says of N examples.

    Args:
        rows: `[N]` true rows.
        ranking: `[N, K]` the likeliest rows, the prediction first; −1 where fewer are visible.
        probabilities: `[N, K]` float32, softmax over the visible rows, of those.
    """

    rows: NDArray[np.int64]
    ranking: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted rows, `[N]`."""
        return self.ranking[:, 0]

    @property
    def accuracy(self) -> float:
        """Share of examples whose prediction is the true row."""
        return float((self.predictions == self.rows).mean())


@torch.inference_mode()
def probabilities(extractor: Extractor, split: Examples, task: str | None, visible: NDArray[np.bool_]) -> torch.Tensor:
    """Return softmax over the visible rows, `[N, rows]`, 0 in the others; in the split's own order, on the CPU.

    Args:
        extractor: of the model.
        split: the inputs.
        task: the task, where the gate needs it.
        visible: `[rows]` the rows that may be predicted.
    """
    model = extractor.model
    model.eval()
    chosen = extractor.chosen(split, task)
    features = extractor.features(split, task, chosen=chosen)
    parts = [model.head(part.to(model.device)) for part in torch.split(features, 4096)]
    scores = torch.cat(parts).float().cpu()
    if chosen is not None:
        scores = model.confined(scores, chosen)
    padded = scores.new_full((len(split), len(visible)), float("-inf"))
    padded[:, : scores.shape[1]] = scores
    return padded.masked_fill(~torch.from_numpy(visible), float("-inf")).softmax(dim=1)


def score(extractor: Extractor, split: Examples, task: str | None, visible: NDArray[np.bool_]) -> Scores:
    """Score one split; see `probabilities` for the arguments. Of equally likely rows the lowest stands first."""
    p = probabilities(extractor, split, task, visible)
    shown = torch.from_numpy(visible).nonzero().squeeze(1)  # a visible row may have 0 too, and others are no answer
    best, places = p[:, shown].sort(dim=1, descending=True, stable=True)
    rows = shown[places]
    ranking = np.full((len(p), RANKS), -1)
    kept = np.zeros((len(p), RANKS), np.float32)
    k = min(RANKS, len(shown))
    ranking[:, :k], kept[:, :k] = rows[:, :k].numpy(), best[:, :k].numpy()
    return Scores(split.rows, ranking, kept)


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
        self._known: dict[str, tuple[str, Scores]] = {}
        self.untrained: dict[str, Scores] = {}  # row 0

    def seen(self, task: EncodedTask, seen: Sequence[str], reuse: bool = True) -> Scores:
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
        result = self._score(task, self.space.visible(task.name, seen))
        self._known[task.name] = (signature, result)
        return result

    def recall(self, task: EncodedTask, seen: Sequence[str], scores: Scores) -> None:
        """Take over what was measured, by another process, on the state that the model is in now."""
        if task.name not in self._known:
            self._known[task.name] = (self._signature(task, seen), scores)

    def _signature(self, task: EncodedTask, seen: Sequence[str]) -> str:
        competing = [task.name] if self.space.scenario == "task" else seen
        return self.model.signature(
            self._named(task), list(dict.fromkeys(self.space.blocks[name] for name in competing))
        )

    def unseen(self, task: EncodedTask) -> Scores:
        """Score a task that has not been learned, with untrained head rows for every class that has none yet.

        Before the first task this is row 0 of the matrix: the pretrained backbone under a random head. Where the
        gate keeps a slot per task, an unseen task has none, and its cell stays that of row 0.
        """
        gate = self.model.gate
        if gate is not None and gate.needs_task and task.name in self.untrained:
            return self.untrained[task.name]
        head = self.model.head
        self.model.head = copy.deepcopy(head)
        for other in self.tasks:
            block = self.space.blocks[other.name]
            if block not in self.model.head.blocks:
                self.model.head.open(block, other.classes, block_generator(self.seed, block))
        everything = [other.name for other in self.tasks]
        result = self._score(task, self.space.visible(task.name, everything))
        self.model.head = head
        self.untrained.setdefault(task.name, result)
        return result

    def _score(self, task: EncodedTask, visible: NDArray[np.bool_]) -> Scores:
        return score(self.extractor, task.splits[self.split], self._named(task), visible)

    def _named(self, task: EncodedTask) -> str | None:
        """The task's name in the only scenario in which it is known at test time."""
        return task.name if self.space.scenario == "task" else None


def block_generator(seed: int, block: str) -> torch.Generator:
    """Return the generator that draws a head block: a function of the run's seed and the block's name alone."""
    digest = np.random.SeedSequence([seed, *block.encode()]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(digest) % 2**63)
