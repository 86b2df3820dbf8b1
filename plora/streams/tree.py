"""A stream of classes as a tree of questions: one task for each node, whose classes are its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializeAsAny, model_validator

from plora.errors import DataError
from plora.kinds import by_kind
from plora.streams.base import SPLITS, Split, SplitName, Stream, StreamSource, Task
from plora.streams.chosen import Part, chosen
from plora.streams.image_reading import ImageReading
from plora.streams.label_tree import LabelTree
from plora.streams.labelled import LABELLED
from plora.streams.routes import Routes

ROOT = "root"
"""The first question where the tasks of a stream are its answers."""


@dataclass(frozen=True)
class Leaves:
    """One split of all classes of a tree.

    Args:
        inputs: the examples; their labels are positions in the tree's leaves.
        costs: `[N, leaves]` what each class costs as the answer; None where nothing more is known than what is right.
    """

    inputs: Split
    costs: NDArray[np.float64] | None

    @property
    def labels(self) -> NDArray[np.int64]:
        """`[N]` positions in the tree's leaves."""
        assert self.inputs.labels is not None
        return self.inputs.labels


class TreeStream(StreamSource):
    """The classes of another stream as the leaves of a tree, and a task for each node of it.

    The examples of a node are those whose class lies below it, its classes are its answers: other nodes, or classes.

        of: {kind: digits, per_task: 10}
        nodes:
          parity: [even, odd]
          even: [zero, two, four, six, eight]
          odd: [one, three, five, seven, nine]
    """

    kind: Literal["tree"] = "tree"

    of: Annotated[SerializeAsAny[StreamSource], by_kind(LABELLED, "stream", StreamSource)]
    """The inputs and their classes: a stream of texts or images, `kind:` and its own keys."""

    nodes: dict[str, tuple[str, ...]] | None = None
    """The name of each node and its answers: names of other nodes, or else of classes, each in one place. None: the
    tasks of the stream are the answers of the first node, `root`, and the classes of each are its own."""

    map: dict[str, str] = Field(default_factory=dict)
    """Classes that have no leaf, and the leaf that their examples are counted as."""

    drop: tuple[str, ...] = ()
    """Classes whose examples are left out."""

    routes: Path | None = None
    """Learn each node on what the nodes above it send there, as this file of `plora cascade route` says, and not on all
    that belongs there. Validation and test stay as they are."""

    strangers: Literal["drop", "noise"] = "drop"
    """With `routes`, what is learned of examples that are sent to a node and do not belong there: nothing, or an answer
    drawn at random, so that the node is unsure of what it should not see."""

    @model_validator(mode="after")
    def _is_a_tree(self) -> Self:
        if self.nodes is not None:
            LabelTree(self.nodes)
        if self.routes is None and self.strangers != "drop":
            raise ValueError("strangers: it says what is learned of what 'routes' send astray, and there are no routes")
        return self

    @property
    def reading(self) -> ImageReading | None:
        """How the images of the stream are decoded, where there are some."""
        found = getattr(self.of, "reading", None)
        return found if isinstance(found, ImageReading) else None

    def load(self) -> Stream:
        """Read the stream, and cut it into one task for each node.

        Raises:
            DataError: as the stream, or a class has no leaf, a leaf no class, or a node or an answer no example.
        """
        found, tree = self._read()
        splits = {name: self.leaves(name, found, tree) for name in SPLITS}
        routes = None if self.routes is None else Routes.read(self.routes)
        if routes is not None:
            routes.require(tree.leaves, splits["train"].inputs)
        tasks = tuple(self._task(node, tree, splits, routes) for node in tree.names)
        provenance = dict(found.provenance) if routes is None else {**found.provenance, "routes": routes.sha256}
        return Stream(found.name, tasks, ("task",), provenance, found.notes, found.rows)

    def tree(self) -> LabelTree:
        """Return the tree of the stream's classes.

        Raises:
            DataError: as the stream, or a class has no leaf or a leaf no class.
        """
        return self._read()[1]

    def leaves(self, split: SplitName, found: Stream | None = None, tree: LabelTree | None = None) -> Leaves:
        """Return all examples of a split, in their order: task after task of the stream, without those dropped.

        Args:
            split: its name.
            found: the stream that the tree is of, where it is loaded already.
            tree: its tree.

        Raises:
            DataError: as `load`.
        """
        if found is None or tree is None:
            found, tree = self._read()
        parts: list[Part] = []
        labels, costs = [], []
        for task in found.tasks:
            own = dict(task.splits())[split]
            assert own.labels is not None
            leaf_of = np.array([self._leaf(name, tree) for name in task.label_names], np.int64)
            kept = np.flatnonzero(leaf_of[own.labels] >= 0)
            parts.append((own, kept))
            labels.append(leaf_of[own.labels[kept]])
            if own.costs is not None and set(tree.leaves) <= set(task.label_names):
                asked = own.costs[kept]
                costs.append(
                    np.stack([asked[:, leaf_of == leaf].min(axis=1) for leaf in range(len(tree.leaves))], axis=1)
                )
        whole = np.concatenate(costs) if len(costs) == len(found.tasks) else None
        return Leaves(chosen(parts, np.concatenate(labels)), whole)

    def _read(self) -> tuple[Stream, LabelTree]:
        """The stream and its tree, which fit."""
        found = self.of.load()
        if unlabelled := [task.name for task in found.tasks if task.train.labels is None]:
            raise DataError(f"a tree needs inputs with a class each, and task '{unlabelled[0]}' has none")
        labels = list(dict.fromkeys(name for task in found.tasks for name in task.label_names))
        if self.nodes is not None:
            tree = LabelTree(self.nodes)
        else:
            if len(found.tasks) < 2:
                raise DataError(f"nodes: stream '{found.name}' has one task, so nothing says which nodes there are")
            gone = {*self.map, *self.drop}
            own = {task.name: [name for name in task.label_names if name not in gone] for task in found.tasks}
            tree = LabelTree({ROOT: list(own), **own})
        tree.require_labels(labels, self.map, self.drop)
        return found, tree

    def _leaf(self, label: str, tree: LabelTree) -> int:
        """The leaf of a class; −1 of one that is dropped."""
        return -1 if label in self.drop else tree.leaves.index(self.map.get(label, label))

    def _task(self, node: str, tree: LabelTree, splits: Mapping[SplitName, Leaves], routes: Routes | None) -> Task:
        """What is learned at one node."""
        answers, made = tree.answers(node), {}
        for name, leaves in splits.items():
            answer = answers[leaves.labels]
            if name == "train":
                found = np.bincount(answer[answer >= 0], minlength=len(tree.nodes[node]))
                if (empty := np.flatnonzero(found == 0)).size:
                    raise DataError(
                        f"node '{node}': no training example has the answer '{tree.nodes[node][empty[0]]}'; take it "
                        "out of the tree, or map another class to it"
                    )
            elif not (answer >= 0).any():
                raise DataError(f"node '{node}': no {name} example has a class below it; each node needs at least one")
            if name == "train" and routes is not None and node != tree.root:
                answer = routes.sent(node, answer, answers, self.strangers)
            own = np.flatnonzero(answer >= 0)
            made[name] = chosen([(leaves.inputs, own)], answer[own])
        return Task(node, tuple(tree.nodes[node]), **made)
