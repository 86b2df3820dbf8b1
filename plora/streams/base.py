"""What a stream is: tasks in an order, each with three splits and a fingerprint.

A source (one file each: docstrings, local files, the hub) is a small strict pydantic model, so that the
signature a user reads in the documentation is the schema of the YAML under `stream:`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from plora.errors import DataError
from plora.streams.label_text import looks_like
from plora.streams.overlap import Overlaps, overlaps
from plora.streams.row_count import RowCount

Scenario = Literal["task", "class", "domain"]
"""Who knows what at test time: `task` (the task id is given, a head each), `class` (no id, one softmax over
all classes seen), `domain` (no id, every task has the same labels)."""

SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

TextInput = str | tuple[str, str]
"""One text, or a pair of texts."""


class Split(ABC):
    """One split of one task: N inputs, read when they are asked for.

    Attributes:
        labels: `[N]` int64, ids local to the task (0 … classes − 1); None where the answer is no class.
        dense: each part of an input, a pixel or a word, has a class, so that a task may name those that it adds though
            no input has one label.
        background: its first class stands for all that no task has named so far, so that its meaning shifts as tasks
            come.
        several: an input has any number of the labels that its task names, or a number for each of its names.
        costs: `[N, classes]` what each answer would cost for each input, lower is better, for what is computed from
            answers; None where nobody says it. No network sees them.
        slow: reading takes so long, because inputs are files or come from elsewhere, that batches are read ahead in
            threads; `read` is then called by several at once.
    """

    labels: NDArray[np.int64] | None
    costs: NDArray[np.float64] | None = None
    dense: bool = False
    background: bool = False
    several: bool = False
    slow: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """Return N."""

    @abstractmethod
    def read(self, indices: NDArray[np.int64]) -> Sequence[object]:
        """Return some inputs, in the order of `indices`, as the problem of the run takes them.

        Raises:
            DataError: one cannot be read; says which.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return the sha256 (hex) of the content of all inputs and labels, in their order."""

    def identities(self) -> Sequence[object] | None:
        """Return something hashable per input that equal inputs share; None where looking would mean reading all."""
        return None


@dataclass(frozen=True)
class Texts(Split):
    """Texts in memory.

    Args:
        inputs: N texts or N pairs of texts.
        labels: `[N]` int64.
    """

    inputs: tuple[TextInput, ...]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def read(self, indices: NDArray[np.int64]) -> Sequence[TextInput]:
        """Return some of the texts."""
        return [self.inputs[index] for index in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of inputs and labels, in their order."""
        digest = hashlib.sha256()
        for text, label in zip(self.inputs, self.labels.tolist(), strict=True):
            digest.update(json.dumps([text, label], ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def identities(self) -> Sequence[TextInput]:
        """Return the texts."""
        return self.inputs


@dataclass(frozen=True)
class Task:
    """One data set to learn, with its own label names and its own validation split.

    Args:
        name: unique in its stream.
        label_names: the name of each local label id; none where the answer is no class; of maps the classes that the
            task adds, where tasks add some; of numbers what each is.
        train, validation, test: the splits; validation chooses, test is only ever scored.

    Raises:
        DataError: a split is empty, there are fewer than two classes in train, a label is out of range, or
            validation or test contain a label that train does not have.
    """

    name: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    def __post_init__(self) -> None:
        for split_name, split in self.splits():
            if len(split) == 0:
                raise DataError(
                    f"task '{self.name}': the {split_name} split is empty; every task needs at least one "
                    f"{split_name} example{self._rare_labels()}"
                )
            one_each = not (split.dense or split.several)
            if (split.labels is None) != (not self.label_names) and one_each:
                has, named = ("no" if split.labels is None else "its"), len(self.label_names)
                raise DataError(f"task '{self.name}': the {split_name} split has {has} labels, and {named} are named")
        if not self.label_names or self.train.dense or self.train.several:
            return
        labels = {name: _checked_labels(self, name, split) for name, split in self.splits()}
        trained = set(labels["train"].tolist())
        if len(trained) < 2:
            only = self.label_names[next(iter(trained))]
            raise DataError(
                f"task '{self.name}': every training example has the label '{only}'; "
                "a classification task needs at least two classes"
            )
        for split_name, found in labels.items():
            unseen = sorted(set(found.tolist()) - trained)
            if unseen:
                names = ", ".join(f"'{self.label_names[label]}'" for label in unseen[:5])
                trained_names = [self.label_names[label] for label in sorted(trained)]
                alike = looks_like(self.label_names[unseen[0]], trained_names)
                raise DataError(
                    f"task '{self.name}': label {names} appears in {split_name} but never in train{alike}; "
                    "add training examples for it or drop its rows"
                )

    def _rare_labels(self) -> str:
        """What may be the reason why nothing could be cut from train."""
        if self.train.labels is None or not len(self.train):
            return ""
        counts = np.unique(self.train.labels, return_counts=True)[1]
        once = int((counts == 1).sum())
        if not once:
            return ""
        return (
            f" ({once} of the {len(counts)} labels in train have one example alone; is the label column the right one?)"
        )

    def splits(self) -> Iterator[tuple[SplitName, Split]]:
        """Yield `(name, split)` for train, validation and test."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    def test_duplicates(self) -> int:
        """Return how many test inputs also stand, to the letter, in train or validation; 0 where nobody looked."""
        return self._test_duplicates

    def train_by_class(self) -> dict[str, int]:
        """Return how many training examples each class has, by its name; nothing where the answer is no class."""
        return dict(self._train_by_class)

    def fingerprints(self) -> dict[str, str]:
        """Return the sha256 of each split by name."""
        return dict(self._fingerprints)

    # A record of the whole run is written after each task, and a split does not change: its content is read once.

    @cached_property
    def _test_duplicates(self) -> int:
        of_train, of_validation, of_test = (split.identities() for _, split in self.splits())
        if of_train is None or of_validation is None or of_test is None:
            return 0
        known = set(of_train) | set(of_validation)
        return sum(identity in known for identity in of_test)

    @cached_property
    def _train_by_class(self) -> Counter[str]:
        counts = Counter[str]()  # two classes of one name count together
        if self.train.labels is not None:
            found = np.bincount(self.train.labels, minlength=len(self.label_names))
            for name, count in zip(self.label_names, found.tolist(), strict=True):
                counts[name] += count
        return counts

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {name: split.fingerprint() for name, split in self.splits()}


def _checked_labels(task: Task, name: SplitName, split: Split) -> NDArray[np.int64]:
    """The labels of a split, one per input and all of them named."""
    assert split.labels is not None
    if len(split) != len(split.labels):
        raise DataError(f"task '{task.name}': {len(split)} {name} inputs but {len(split.labels)} labels")
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= len(task.label_names):
        raise DataError(
            f"task '{task.name}': {name} labels run from {low} to {high}, but there are "
            f"{len(task.label_names)} label names (0 to {len(task.label_names) - 1})"
        )
    return split.labels


@dataclass(frozen=True)
class Stream:
    """Tasks in the order in which they are learned.

    Args:
        name: of the stream, shown in reports.
        tasks: at least one, names unique.
        scenarios: the scenarios that make sense for this stream; by default all that its labels allow.
        provenance: where the data came from (library versions, file hashes), part of the fingerprint.
        notes: what a reader should know of the data, by subject; log, record and report repeat them.
        rows: how many rows of each source were found, used and left out, and why.
    """

    name: str
    tasks: tuple[Task, ...]
    scenarios: tuple[Scenario, ...] = SCENARIOS
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, RowCount] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise DataError(f"stream '{self.name}' has no tasks; name at least one")
        names = [task.name for task in self.tasks]
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise DataError(
                f"stream '{self.name}': task name '{twice[0]}' is used more than once; names must be unique"
            )

    def ordered(self, names: Sequence[str]) -> "Stream":
        """Return this stream with its tasks in another order.

        Args:
            names: of all its tasks, each once.

        Raises:
            DataError: a name is unknown, missing or given twice.
        """
        tasks = {task.name: task for task in self.tasks}
        if sorted(names) != sorted(tasks):
            raise DataError(
                f"order: got {', '.join(names)}; expected each task of stream '{self.name}' once: {', '.join(tasks)}"
            )
        return replace(self, tasks=tuple(tasks[name] for name in names))

    def followed_by(self, other: "Stream") -> "Stream":
        """Return this stream with the tasks of another one after its own.

        Raises:
            DataError: a task name occurs in both.
        """
        return replace(
            self,
            tasks=(*self.tasks, *other.tasks),
            provenance={**self.provenance, **other.provenance},
            notes={**self.notes, **other.notes},
            rows={**self.rows, **other.rows},
        )

    def in_one_order(self) -> "Stream":
        """Return this stream with the labels of tasks that have those of the first one in its order: ids follow names.

        Tasks with other labels, or whose splits are of a kind that cannot be given other ids, stay as they are.
        """
        names = self.tasks[0].label_names
        return replace(self, tasks=tuple(_reordered(task, names) for task in self.tasks))

    def overlaps(self) -> Mapping[str, Overlaps] | None:
        """Return how many texts of each task's validation and test stand in earlier splits, nearly or in another task.

        None where inputs are no texts, or too many to look (see `plora.streams.overlap`).
        """
        return self._overlaps

    @cached_property
    def _overlaps(self) -> Mapping[str, Overlaps] | None:
        splits = [[split for _, split in task.splits()] for task in self.tasks]
        texts = [[split.inputs for split in of_task if isinstance(split, Texts)] for of_task in splits]
        if any(len(of_task) < len(SPLITS) for of_task in texts) or (found := overlaps(texts)) is None:
            return None
        return {task.name: Overlaps(*of_task) for task, of_task in zip(self.tasks, found, strict=True)}

    def fingerprint(self) -> str:
        """Return the sha256 of every split of every task, their names, label names and the provenance."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        content = {
            "tasks": [[task.name, task.label_names, task.fingerprints()] for task in self.tasks],
            "provenance": dict(self.provenance),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def require(self, scenario: Scenario) -> None:
        """Refuse a scenario that this stream cannot give.

        Raises:
            DataError: `class` needs label names that differ between all tasks, `domain` the same label names in
                every task, and the stream must declare the scenario; says which of these failed.
        """
        if scenario not in self.scenarios:
            raise DataError(
                f"stream '{self.name}' has no {scenario}-incremental form; it can be learned as: "
                f"{', '.join(self.scenarios)} (set scenario=…)"
            )
        if scenario == "domain":
            first = self.tasks[0]
            for task in self.tasks[1:]:
                if task.label_names != first.label_names:
                    others = " or ".join(f"scenario={one}" for one in self.scenarios if one != "domain")
                    same = sorted(task.label_names) == sorted(first.label_names)
                    raise DataError(
                        f"scenario=domain needs the same labels in {'one order in ' if same else ''}every task, but "
                        f"'{first.name}' has {list(first.label_names)[:6]} and '{task.name}' has "
                        f"{list(task.label_names)[:6]}; {f'use {others}, or ' if others else ''}give them "
                        f"{'in one order' if same else 'common names'}"
                    )
        if scenario == "class":
            owner: dict[str, str] = {}
            for task in self.tasks:
                for label in task.label_names:
                    if label in owner:
                        raise DataError(
                            f"scenario=class needs labels that differ between tasks, but '{label}' is in both "
                            f"'{owner[label]}' and '{task.name}'; use scenario=domain or scenario=task, "
                            "or give the labels distinct names (a stream of `kind: local` does with "
                            "`distinct_labels: true`)"
                        )
                    owner[label] = task.name


def _reordered(task: Task, names: tuple[str, ...]) -> Task:
    """A task with its labels in another order, where they are the same and are not in it already."""
    if task.label_names == names or sorted(task.label_names) != sorted(names):
        return task
    ids = np.array([names.index(name) for name in task.label_names], dtype=np.int64)
    splits: dict[str, Split] = {}
    for split_name, split in task.splits():
        if split.labels is None or "labels" not in getattr(split, "__dataclass_fields__", ()):
            return task
        splits[split_name] = replace(cast(Any, split), labels=ids[split.labels])
    return Task(task.name, names, **splits)


class StreamSource(BaseModel, ABC):
    """Where a stream comes from: the keys under `stream:` in a config, and how to load them.

    Subclasses are final, declare `kind: Literal["…"]` and a docstring under each field, and are listed in
    `plora.streams.STREAMS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str

    @abstractmethod
    def load(self) -> Stream:
        """Read, check and split the data.

        Raises:
            DataError: what was found, what was expected, and what to do.
        """
