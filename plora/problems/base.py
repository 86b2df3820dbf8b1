"""What a task's inputs and answers look like: how they are encoded, batched, learned, measured and told."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from plora.backbones import Backbone, BackboneConfig
from plora.errors import BackboneError, DataError, RunError
from plora.heads import Head
from plora.moment import Moment
from plora.problems.class_balance import class_weights, focused, weights_by_name
from plora.problems.settings import ClassificationLoss, ClassificationSettings, ProblemSettings
from plora.results import ACCURACY, RANKS, SCORES, ClassRankings, Measurements, Score
from plora.streams.base import Scenario, Split, Stream, StreamSource

Indices = NDArray[np.int64]
Columns = dict[str, NDArray[np.generic]]
"""What is measured of some examples: numbers `[N, …]` by name."""


@dataclass(frozen=True)
class Batch:
    """Some examples, padded and side by side.

    Args:
        inputs: what the backbone takes, by its argument names.
        targets: what losses and measures compare with, by name; empty where nothing is known.
        indices: `[B]` positions of the examples among those that they come from.
        weights: by name of a loss, how much these examples weigh in it: the number of examples, tokens or pixels that
            count. The loop divides a loss by the weights of the whole step, whatever micro-batches and processes.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor] = field(default_factory=dict)
    indices: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    weights: Mapping[str, float] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        inputs, targets = (
            {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}
            for tensors in (self.inputs, self.targets)
        )
        return replace(self, inputs=inputs, targets=targets)


class Examples(ABC):
    """Inputs and targets, ready to be batched; what a strategy remembers is made of them too.

    Attributes:
        fingerprint: sha256 of the content; empty where nobody asks for it.
        fixed: an example is the same whenever it is batched. Where it is not, because inputs are augmented, nothing
            that was computed from it is kept.
        slow: collating takes so long that batches are made ahead, in threads; `collate` is then called by several at
            once.
        packed: examples share the rows of a batch, so that none is padded, and rows have no order of examples.
        rows: `[N]` the row of the head that is each example's answer; of length 0 where answers are no rows.
        chances: `[N]` how likely each is drawn, where an epoch draws examples and does not take each once; else None.
    """

    fingerprint: str = ""
    fixed: bool = True
    slow: bool = False
    packed: bool = False
    rows: Indices
    chances: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.costs)

    @property
    @abstractmethod
    def costs(self) -> Indices:
        """`[N]` what each example costs, in tokens or whatever fills the memory of a batch; at least 1."""

    @property
    def source(self) -> object:
        """What caches know the inputs by: the same object for the same inputs."""
        return self

    @property
    def truncated(self) -> int:
        """How many inputs did not fit and lost their end."""
        return 0

    @abstractmethod
    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return a batch of some examples, in the order of `indices`.

        Args:
            indices: `[B]`.
            draw: decides what is random about the examples, each by its own position; None is as they are scored.
        """

    def targets(self, indices: Indices) -> dict[str, Tensor]:
        """Return what losses and measures compare with, of some examples, as `collate` has it; no input is made."""
        return {"rows": torch.from_numpy(self.rows[indices])}

    def answers(self) -> NDArray[np.generic] | None:
        """Return what is true, as a record of all examples has it; see `Measurements.answers`."""
        return self.rows if len(self.rows) else None

    @abstractmethod
    def subset(self, indices: Indices) -> Self:
        """Return some of the examples, in the order of `indices`."""

    @abstractmethod
    def followed_by(self, others: Sequence[Self]) -> Self:
        """Return these examples and others, one after the other."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the examples as tensors, from which `Problem.restored` makes them again: what a checkpoint keeps."""

    def first_batch(self) -> dict[str, list[float]]:
        """Return mean and standard deviation of each tensor of the first eight inputs: what preprocessing makes."""
        tensors = self.collate(np.arange(min(8, len(self)))).inputs
        return {name: [float(t.double().mean()), float(t.double().std())] for name, t in tensors.items()}


def stored(tensors: Mapping[str, Tensor], types: Mapping[str, torch.dtype], what: str) -> dict[str, Tensor]:
    """Return those tensors that examples were kept as, each of one dimension, on the CPU.

    Args:
        tensors: by name, among others.
        types: those that are wanted, and their types.
        what: was kept, such as `texts`.

    Raises:
        RunError: one is missing, or has another type or more dimensions.
    """
    found = {}
    for name, dtype in types.items():
        if name not in tensors or tensors[name].dtype != dtype or tensors[name].dim() != 1:
            raise RunError(f"the stored {what} have no '{name}' of one dimension and type {dtype}")
        found[name] = tensors[name].cpu()
    return found


class EncodedInputs(ABC):
    """The inputs of one split, ready to be batched.

    Attributes:
        lengths: `[N]` int64, the cost of each example in tokens.
        fixed, slow: see `Examples`.
    """

    lengths: Indices
    fixed: bool = True
    slow: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def truncated(self) -> int:
        """How many inputs did not fit and lost their end."""
        return 0

    @abstractmethod
    def followed_by(self, others: Sequence[Self]) -> Self:
        """Return these inputs and the others, one after the other."""

    @abstractmethod
    def subset(self, indices: Indices) -> Self:
        """Return some of the inputs, in the order of `indices`."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the inputs as tensors, from which `Problem.restored` makes them again."""

    @abstractmethod
    def collate(self, indices: Indices, draw: int | None = None) -> dict[str, Tensor]:
        """Return the padded inputs of one batch, by the backbone's argument names; see `Examples.collate`."""


class InputExamples(Examples):
    """Examples whose inputs were encoded by themselves.

    Attributes:
        inputs: of N examples.
    """

    inputs: EncodedInputs

    @property
    def fixed(self) -> bool:  # type: ignore[override]  # decided by the inputs
        """Whether the inputs are the same whenever they are batched."""
        return self.inputs.fixed

    @property
    def slow(self) -> bool:  # type: ignore[override]  # decided by the inputs
        """Whether batches are made ahead, in threads."""
        return self.inputs.slow

    @property
    def costs(self) -> Indices:
        """`[N]` tokens."""
        return self.inputs.lengths

    @property
    def source(self) -> object:
        """The inputs."""
        return self.inputs

    @property
    def truncated(self) -> int:
        """How many inputs did not fit and lost their end."""
        return self.inputs.truncated


@dataclass(frozen=True)
class LabelledExamples(InputExamples):
    """Inputs with one class each.

    Args:
        inputs: N encoded inputs.
        rows: `[N]` their rows in the head.
        fingerprint: sha256 of the split's content.
        weights: `[N]` how much each counts in the loss, by its class; None: all count 1.
        balanced: an epoch draws each class equally likely.
    """

    inputs: EncodedInputs
    rows: Indices
    fingerprint: str = ""
    weights: NDArray[np.float32] | None = None
    balanced: bool = False

    @property
    def chances(self) -> NDArray[np.float64] | None:  # type: ignore[override]  # follows from the rows
        """`[N]` how likely each is drawn, where classes are balanced."""
        if not self.balanced:
            return None
        _, which, counts = np.unique(self.rows, return_inverse=True, return_counts=True)
        chances: NDArray[np.float64] = 1 / (len(counts) * counts[which])
        return chances

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return inputs, `rows` `[B]`, `class_weights` `[B]` where there are any, and that the mean of `cross_entropy`
        is over examples."""
        targets = self.targets(indices)
        return Batch(self.inputs.collate(indices, draw), targets, indices, {"cross_entropy": len(indices)})

    def targets(self, indices: Indices) -> dict[str, Tensor]:
        """Return `rows` and, where there are any, `class_weights`."""
        weights = {} if self.weights is None else {"class_weights": torch.from_numpy(self.weights[indices])}
        return {**super().targets(indices), **weights}

    def subset(self, indices: Indices) -> "LabelledExamples":
        """Return some of the examples."""
        weights = None if self.weights is None else self.weights[indices]
        inputs = self.inputs.subset(indices)
        return LabelledExamples(inputs, self.rows[indices], weights=weights, balanced=self.balanced)

    def followed_by(self, others: "Sequence[LabelledExamples]") -> "LabelledExamples":
        """Return these examples and others."""
        all_of_them = (self, *others)
        rows = np.concatenate([one.rows for one in all_of_them])
        weights = None
        if any(one.weights is not None for one in all_of_them):
            weights = np.concatenate([one.weights_or_ones() for one in all_of_them])
        inputs = self.inputs.followed_by([other.inputs for other in others])
        return LabelledExamples(inputs, rows, weights=weights, balanced=self.balanced)

    def weights_or_ones(self) -> NDArray[np.float32]:
        """Return how much each example counts in the loss, `[N]`."""
        return np.ones(len(self.rows), np.float32) if self.weights is None else self.weights

    def tensors(self) -> dict[str, Tensor]:
        """Return `rows`, those of the inputs as `inputs/…`, and `class_weights` where there are any."""
        inputs = {f"inputs/{name}": tensor for name, tensor in self.inputs.tensors().items()}
        weights = {} if self.weights is None else {"class_weights": torch.from_numpy(self.weights)}
        return {"rows": torch.from_numpy(self.rows), **weights, **inputs}


class Problem(ABC):
    """One kind of task. A new problem is one file in this folder and one line in `PROBLEMS`.

    Attributes:
        score: what a cell of the matrix is.
        record: what is kept of each example that was scored; `score` is computed from it.
        classifies: each example has one row of the head as its answer, and `scores` is one of the outputs. Where none
            has one and there are features all the same, `scores` has a row for each part of an example, such as a word.
        fills_rows: though no example has one row as its answer, `scores` is one of the outputs, and each row of a task
            has a target of its own.
        moving: names (regular expressions) of the backbone's buffers that may change while a task is learned.
        items: what inputs are, in words, where a message speaks of many.
        answered: what is told of new inputs: `labels`, or `numbers`.
        size_key: key of a config that makes inputs smaller, for when memory is full; empty where there is none.
        of_stream: a pretrained network is made to fit the stream: `load_for` looks at it whatever the backbone.
        loss: how examples weigh in the loss of a problem that classifies.
        balanced: an epoch of a problem that classifies draws each class equally likely.
    """

    loss: ClassificationLoss = ClassificationLoss()
    balanced: bool = False
    score: Score = ACCURACY
    record: type[Measurements] = ClassRankings
    classifies: ClassVar[bool] = True
    fills_rows: ClassVar[bool] = False
    moving: ClassVar[tuple[str, ...]] = ()
    items: ClassVar[str] = "inputs"
    answered: ClassVar[str] = "labels"
    size_key: ClassVar[str] = ""
    of_stream: ClassVar[bool] = False

    @property
    def has_rows(self) -> bool:
        """Whether `scores` of a head are what is measured of an example: a row of them for each."""
        return self.classifies or self.fills_rows

    @classmethod
    @abstractmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> Backbone:
        """Load the backbone that this problem needs, with whatever turns inputs into tensors for it.

        Args:
            settings: of the problem.
            config: which backbone.

        Raises:
            BackboneError: it is not there, is damaged, or is of another kind than the problem needs.
        """

    @classmethod
    def load_for(cls, settings: ProblemSettings, config: BackboneConfig, stream: Callable[[], Stream]) -> Backbone:
        """Load the backbone for the stream of a run, where a new one may depend on it; most do not look at it.

        Args:
            settings: of the problem.
            config: which backbone.
            stream: loads the stream that the run begins with.
        """
        return cls.load(settings, config)

    @classmethod
    @abstractmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone that `load` returned.

        Args:
            settings: of the problem.
            backbone: what inputs are made for.
            config: of the backbone.
            cache: folder for what may be kept of encoded splits, or None.
        """

    def learn_as(self, settings: ProblemSettings) -> None:
        """Take what settings say of loss, sampling and score, the same for all problems that classify.

        Args:
            settings: of the run; `score` counts where it is set, for a class of your own may have another one.
        """
        if isinstance(settings, ClassificationSettings):
            self.loss, self.balanced = settings.loss, settings.sampling == "balanced"
            if "score" in settings.model_fields_set:
                self.score = SCORES[settings.score]

    def weighed(self, train: Examples, names: Sequence[str], first_row: int) -> Examples:
        """Return a training split in which classes weigh what settings say of them by name.

        Args:
            train: the encoded split.
            names: of the task's classes.
            first_row: of the head that is the first class's.
        """
        if not self.loss.class_weights or not isinstance(train, LabelledExamples):
            return train
        weights = weights_by_name(self.loss.class_weights, names).astype(np.float32)
        return replace(train, weights=weights[train.rows - first_row])

    def opened(self, head: Head, block: str, train: Examples) -> None:  # noqa: B027  (most have nothing to fix)
        """Fix what the training split decides of rows that were just opened, such as the unit of their scores.

        Args:
            head: with the rows.
            block: of them.
            train: of the task that opened them.
        """

    def settled(self, head: Head, block: str, scores: Callable[[], Tensor], validation: Examples) -> None:  # noqa: B027
        """Fix what the validation split decides of rows that were just learned, such as thresholds.

        Args:
            head: with the rows, committed or solved.
            block: of them.
            scores: computes those of the validation split, `[N, rows]`.
            validation: of the task that was learned.
        """

    def weights_of(self, labels: Indices) -> NDArray[np.float32] | None:
        """Return how much each example of a split counts in the loss, by how many there are of its class; None: 1.

        Args:
            labels: `[N]` of the split.
        """
        if not self.loss.beta or not len(labels):
            return None
        weights: NDArray[np.float32] = class_weights(np.bincount(labels), self.loss.beta)[labels]
        return weights

    @staticmethod
    def restored_weights(tensors: Mapping[str, Tensor], count: int) -> NDArray[np.float32] | None:
        """Return how much each kept example counts in the loss; None where all count 1.

        Raises:
            RunError: the tensor has another type or length.
        """
        found = tensors.get("class_weights")
        if found is None:
            return None
        if found.dtype != torch.float32 or found.shape != (count,):
            raise RunError("the stored examples have 'class_weights' of another type or number")
        return found.cpu().numpy()

    def save(self, backbone: Backbone, folder: Path) -> None:
        """Write a backbone as an ordinary `transformers` folder, with what turns inputs into tensors for it.

        Raises:
            BackboneError: this problem's backbones cannot be written.
        """
        raise BackboneError(f"{type(self).__name__} does not write backbones; pretrain on another problem")

    def check(self, stream: Stream, scenario: Scenario) -> None:  # noqa: B027  (most have nothing to refuse)
        """Refuse a stream that this problem cannot learn.

        Raises:
            DataError: says what the stream has, and what the problem needs.
        """

    def check_network(self, network: nn.Module) -> None:  # noqa: B027  (most can use adapters anywhere)
        """Refuse a network with adapters where this problem cannot use them.

        Raises:
            AdapterError: says which, and why.
        """

    @abstractmethod
    def encode(self, split: Split, first_row: int = 0) -> Examples:
        """Encode a split; a second call for the same split may read a cache.

        Args:
            split: N examples.
            first_row: row of the head that belongs to label 0 of the split's task.

        Raises:
            DataError: an input or a label that this problem cannot take.
        """

    def read_as(self, source: StreamSource) -> None:  # noqa: B027  (most inputs are read in one way)
        """Read new inputs in the way in which a stream reads its own.

        Args:
            source: the stream of the run, as its config has it.
        """

    def given(self, inputs: Sequence[object]) -> Split:
        """Return new inputs, without answers, as a split.

        Args:
            inputs: as a user gives them: texts, or paths of images, as the problem has it.

        Raises:
            DataError: one is not what the problem takes, or the problem takes none.
        """
        raise DataError(f"{type(self).__name__} takes no new inputs; score them as a split of a stream")

    def pictures(self, split: Split, indices: Indices) -> Sequence[NDArray[np.uint8]] | None:
        """Return some inputs as people look at them, `[H, W]` or `[H, W, C]` each; None where inputs are no images.

        Args:
            split: of a stream.
            indices: of examples in it.
        """
        return None

    def shown(self, examples: Examples) -> str | None:
        """Return an example as people read it, with what is learned of it marked; None where nothing is to be seen.

        Args:
            examples: encoded, at least one; those that the loop is given.
        """
        return None

    def augmented(self, batch: Batch, draw: int) -> Batch:
        """Return a batch that is learned, on its device, with what chance does to its inputs, and what it weighs then.

        For what is fast for a whole batch on the device, and slow for one example at a time. Examples that it may
        change are not `fixed`.

        Args:
            batch: some of the examples.
            draw: what `Examples.collate` was given; with the position of each example it decides all of it.
        """
        return batch

    @abstractmethod
    def restored(self, tensors: Mapping[str, Tensor]) -> Examples:
        """Return examples that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """

    def run(
        self, network: nn.Module, inputs: Mapping[str, Tensor], asked: Mapping[str, bool], at: Moment | None = None
    ) -> Any:  # noqa: ANN401
        """Return what the backbone makes of a batch: all of it, unless the problem needs a part of the network alone.

        Args:
            network: of the backbone, under the route of the moment.
            inputs: of the batch.
            asked: what the network is to return besides, by its argument names.
            at: where training stands, for what has a schedule; None evaluates.
        """
        return network(**inputs, **asked)

    @abstractmethod
    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> Tensor | None:  # noqa: ANN401  (a class per network)
        """Return what heads and routers read, `[B, d]` fp32, of what the backbone returned; None: there is none.

        Of a problem that does not classify it is `[P, d]`, of P parts of the inputs.
        """

    def depths(self, found: Any, inputs: Mapping[str, Tensor], blocks: int, below: int) -> Tensor:  # noqa: ANN401
        """Return features `[B, D, d]` at D depths of the bare backbone, the last those of its output.

        Args:
            found: what the backbone returned when it was asked for its hidden states.
            inputs: of the batch.
            blocks: of the backbone.
            below: those that are never adapted.
        """
        features = self.features(found, inputs)
        assert features is not None, "a gate that chooses reads features, and this problem has none"
        return features[:, None]

    def outputs(self, found: Any, scores: Tensor | None) -> dict[str, Tensor]:  # noqa: ANN401
        """Return the named outputs of a batch, from what the backbone returned and what the head made of its features.

        Args:
            found: what the backbone returned.
            scores: `[B, rows]`, or None where there are no features.
        """
        assert scores is not None
        return {"scores": scores}

    def dense_logits(self, outputs: Mapping[str, Tensor], classes: int) -> Tensor:
        """Return logits `[R, C, h, w]` of the first C classes for each part of an input: for h · w pixels of an image,
        or one word.

        Args:
            outputs: of a batch.
            classes: C; 0: all.
        """
        raise DataError(f"{type(self).__name__} gives parts of its inputs no classes")

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch by name, each a sum over what `batch.weights` counts under that name.

        Args:
            outputs: of the batch.
            batch: with its targets.
            competing: `[rows, rows]` bool; row r says among which rows an example whose true row is r is classified.
        """
        rows = batch.targets["rows"]
        nats = focused(masked_cross_entropy(outputs["scores"], rows, competing[rows]), self.loss.gamma)
        if "class_weights" in batch.targets:
            nats = batch.targets["class_weights"] * nats
        return {"cross_entropy": nats.sum()}

    def right(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> Tensor | None:
        """Return which examples of a batch are answered rightly, `[B]` bool; None where answers are no classes.

        Args:
            outputs: of the batch.
            batch: with its targets.
            competing: as `losses` has it.
        """
        if not self.classifies:
            return None
        rows = batch.targets["rows"]
        return outputs["scores"].detach().masked_fill(~competing[rows], float("-inf")).argmax(1) == rows

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return what is measured of each example of a batch: columns `[B, …]` of numbers, by name.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
            visible: `[rows]` the rows that may be predicted.
        """
        p = among(outputs["scores"].float().cpu(), visible)
        shown = torch.from_numpy(visible).nonzero().squeeze(1)  # a visible row may have 0 too; others are no answer
        best, places = p[:, shown].sort(dim=1, descending=True, stable=True)
        rows = shown[places]
        ranking = np.full((len(p), RANKS), -1, np.int32)
        kept = np.zeros((len(p), RANKS), np.float32)
        k = min(RANKS, len(shown))
        ranking[:, :k], kept[:, :k] = rows[:, :k].numpy(), best[:, :k].numpy()
        return {
            "label": batch.targets["rows"].cpu().numpy().astype(np.int32),
            "ranking": ranking,
            "probabilities": kept,
        }

    def told(
        self, scores: Tensor, visible: NDArray[np.bool_], names: Sequence[str], top: int
    ) -> list[list[tuple[str, float]]]:
        """Return what is told of new inputs: names with a number each, here the likeliest classes and probabilities.

        Args:
            scores: `[N, rows]`.
            visible: `[rows]` the rows that may be told.
            names: of all rows.
            top: how many classes.
        """
        shown = torch.from_numpy(np.flatnonzero(visible))  # a probability of 0 is no reason to name another task's
        values, best = among(scores, visible)[:, shown].topk(min(top, len(shown)), dim=1)
        return [
            [(names[row], value) for row, value in zip(rows, found, strict=True)]
            for rows, found in zip(shown[best].tolist(), values.tolist(), strict=True)
        ]

    def cells(self, told: Sequence[tuple[str, float]]) -> dict[str, object]:
        """Return what a table of predictions has of an input, by column.

        Args:
            told: of the input; see `told`.
        """
        return {"predicted": told[0][0], "probability": told[0][1]}

    def united(self, each: Sequence[Mapping[str, Tensor]], own: Sequence[slice]) -> dict[str, Tensor]:
        """Return outputs that say of all classes what slots say of their own, which read a batch each alone.

        Args:
            each: the outputs of each slot.
            own: the rows of the classes that its task brought.
        """
        raise DataError(f"{type(self).__name__} does not ask each slot for its own classes; use another gate")

    def mixed(self, each: Sequence[Columns]) -> Columns:
        """Return what the mean of several models' likelihoods is, from what was measured of each.

        Args:
            each: of some examples, one for each model.
        """
        raise DataError(f"{type(self).__name__} measures no likelihoods of inputs; use another gate")

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> Measurements:
        """Return the record of some examples.

        Args:
            task: `[N]` name of each example's task.
            example: `[N]` its position in its split.
            columns: what `measure` returned, of all of them.
            names: of the class of each row of the head.
        """
        return ClassRankings(task=task, example=example, **columns, class_names=names)  # type: ignore[arg-type]

    def with_names(self, kept: Measurements, names: tuple[str, ...]) -> Measurements:
        """Return a record with the names of all classes, of which it may know the first ones only.

        Where the tasks name none, because no example has one class as its answer, the record keeps those that it has.
        """
        return kept.renamed(names) if names else kept

    def solved_for(self, examples: Examples, first_row: int) -> Tensor:
        """Return what a head of a closed form is solved for: `[N]` rows local to a block; see `ClosedFormHead.fit`.

        Args:
            examples: of a task.
            first_row: of its block.
        """
        return torch.from_numpy(examples.rows - first_row)

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the sha256 of everything that decides how an input is encoded."""


def among(scores: Tensor, visible: NDArray[np.bool_]) -> Tensor:
    """Return softmax over the visible rows, `[N, rows]`, 0 in the others.

    Args:
        scores: `[N, k]` of the first k rows.
        visible: `[rows]` the rows that may be predicted.
    """
    padded = scores.new_full((len(scores), len(visible)), float("-inf"))
    padded[:, : scores.shape[1]] = scores
    return padded.masked_fill(~torch.from_numpy(visible), float("-inf")).softmax(dim=1)


def masked_cross_entropy(logits: Tensor, rows: Tensor, visible: Tensor) -> Tensor:
    """Cross-entropy over the visible rows alone: −log softmax(z | visible)_y, one value per example.

    Args:
        logits: `[B, rows]`.
        rows: `[B]` the true row, which must be visible.
        visible: `[B, rows]` bool, the rows that compete for each example.

    Returns:
        `[B]`.
    """
    return F.cross_entropy(logits.float().masked_fill(~visible, float("-inf")), rows, reduction="none")
