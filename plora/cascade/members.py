"""The runs of a cascade, loaded once each, and what they say of inputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plora.batches.evaluate import scores_of
from plora.build import Learner
from plora.cascade.folder import Cascade, LearnedNode
from plora.errors import RunError, did_you_mean
from plora.problems import Examples
from plora.problems.base import among
from plora.results.metrics.cascade import Numbers
from plora.results.record.manifest import Checkpoint
from plora.runs.loading import load_learner
from plora.streams.base import Split, Stream
from plora.streams.incremental import LabelSpace
from plora.streams.label_tree import LabelTree

Progress = Callable[[str, int, int], None]
"""Told what is done now, how much was done and how much there is."""


@dataclass(frozen=True)
class LoadedRun:
    """A run that answers.

    Args:
        path: its folder.
        learner, learned, space: as `load_learner` returns them.
    """

    path: Path
    learner: Learner
    learned: Checkpoint
    space: LabelSpace

    @classmethod
    def of(cls, path: Path) -> "LoadedRun":
        """Load a run.

        Raises:
            RunError: it is damaged or unfinished, or its answers are no labels.
        """
        learner, learned, space = load_learner(path)
        if not learner.model.problem.classifies:
            raise RunError(f"{path} does not label its inputs, so it can be no part of a cascade")
        return cls(path, learner, learned, space)

    def require_inputs(self, stream: Stream) -> None:
        """Refuse examples that the run cannot read.

        Raises:
            DataError: says what they are.
        """
        self.learner.model.problem.check(stream, "task")

    def encode(self, split: Split) -> Examples:
        """Return examples as the run reads them."""
        return self.learner.model.problem.encode(split)

    def named(self, task: str | None, node: str) -> str | None:
        """Return the task that is asked for a node; None where the run is not told.

        Raises:
            RunError: the run has not learned it, or is not told it.
        """
        if self.space.scenario != "task":
            if task is not None:
                raise RunError(
                    f"{self.path} is {self.space.scenario}-incremental and answers without being told the task; leave "
                    f"the task of node '{node}' out"
                )
            return None
        task = node if task is None else task
        if task not in self.learned.tasks:
            known = ", ".join(self.learned.tasks)
            hint = did_you_mean(task, self.learned.tasks)
            raise RunError(f"node '{node}': {self.path} has not learned the task '{task}'{hint}; it has: {known}")
        return task

    def labels(self, task: str | None) -> tuple[str, ...]:
        """Return the labels that compete, in the order in which `answers` has them."""
        visible = self.space.visible(task, self.learned.tasks)
        return tuple(self.space.names[row] for row in np.flatnonzero(visible))

    def answers(self, examples: Examples, task: str | None) -> Numbers:
        """Return `[N, labels]`, the probability of each label that competes."""
        visible = self.space.visible(task, self.learned.tasks)
        block = None if task is None else self.space.blocks[task]
        found = among(scores_of(self.learner.extractor, examples, task, block), visible).numpy()
        return found[:, visible].astype(np.float64)


@dataclass(frozen=True)
class Member:
    """One run of one node.

    Args:
        run: that answers.
        task: that it is asked for.
        columns: `[answers]` where each answer of the node stands among the labels of the run.
    """

    run: LoadedRun
    task: str | None
    columns: NDArray[np.int64]

    def answers(self, examples: Examples) -> Numbers:
        """Return `[N, answers]` in the order of the node's answers."""
        return self.run.answers(examples, self.task)[:, self.columns]


@dataclass(frozen=True)
class Members:
    """All runs of a cascade.

    Args:
        tree: of the cascade.
        nodes: the runs of each node.
        runs: each of them once.
    """

    tree: LabelTree
    nodes: Mapping[str, Sequence[Member]]
    runs: Mapping[Path, LoadedRun]

    @classmethod
    def of(cls, cascade: Cascade, tree: LabelTree, progress: Progress) -> "Members":
        """Load the runs of a cascade, and find the answers of each node among their labels.

        Raises:
            RunError: a run is damaged, lacks the task, or has other labels than the node has answers.
        """
        if sorted(cascade.nodes) != sorted(tree.nodes):
            raise RunError(
                f"the tree has the nodes {', '.join(tree.names)}, and the cascade {', '.join(cascade.nodes)}; each "
                "needs a run that learned it"
            )
        paths = list(dict.fromkeys(one.run.resolve() for learned in cascade.nodes.values() for one in learned))
        runs: dict[Path, LoadedRun] = {}
        for done, path in enumerate(paths):
            progress(f"load {path.name}", done, len(paths))
            runs[path] = LoadedRun.of(path)
        nodes = {
            node: [_member(runs[one.run.resolve()], one, node, tree) for one in cascade.nodes[node]]
            for node in tree.names
        }
        return cls(tree, nodes, runs)

    def answers(self, node: str, examples: Mapping[Path, Examples]) -> Numbers:
        """Return `[N, answers]`: the mean of what the runs of a node say.

        Args:
            node: its name.
            examples: as each run reads them, by its folder.
        """
        members = self.nodes[node]
        found: Numbers = np.mean([member.answers(examples[member.run.path]) for member in members], axis=0)
        return found


def _member(run: LoadedRun, learned: LearnedNode, node: str, tree: LabelTree) -> Member:
    """A run as it answers a node, told by names."""
    task = run.named(learned.task, node)
    labels, answers = run.labels(task), tree.nodes[node]
    if sorted(labels) != sorted(answers):
        strange = [label for label in labels if label not in answers]
        missing = [answer for answer in answers if answer not in labels]
        said = [f"it has {_names(strange)}"] * bool(strange) + [f"it lacks {_names(missing)}"] * bool(missing)
        whose = f"task '{task}' of {run.path}" if task is not None else str(run.path)
        raise RunError(
            f"node '{node}' has the answers {_names(answers)}, and {whose} has other labels: "
            f"{', and '.join(said) or 'one of them twice'}; labels are told by their names"
        )
    return Member(run, task, np.array([labels.index(answer) for answer in answers], np.int64))


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:6]) + (" …" if len(names) > 6 else "")
