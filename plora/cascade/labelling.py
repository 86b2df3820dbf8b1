"""Label new inputs with a cascade."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.cascade.folder import Cascade, read_cascade
from plora.cascade.members import Members
from plora.errors import DataError, RunError, UnknownTaskError
from plora.results.comparison.searches import tried_by_thresholds
from plora.results.metrics.cascade import CascadeAnswers
from plora.runs.predicting import Prediction
from plora.streams.label_tree import LabelTree

_AT_ONCE = 1024
"""Inputs that are encoded before more are looked at."""


@dataclass(frozen=True)
class Descent(Prediction):
    """The leaves of one input, the likeliest first, with their probabilities; and the way to the first.

    Args:
        path: the nodes that lead to the likeliest leaf, and the leaf.
        tried: the leaves that are worth a search: those that the thresholds of the cascade leave.
    """

    path: tuple[str, ...] = ()
    tried: tuple[str, ...] = ()


def descend(
    folder: Path, inputs: Sequence[object], top: int = 3, progress: Callable[[int], object] | None = None
) -> list[Descent]:
    """Label new inputs with a cascade; the data that it was learned from are not needed.

    p(leaf) = Π over the nodes on its way of p(answer that leads there).

    Args:
        folder: of `plora cascade evaluate`.
        inputs: as the problems of its runs take them.
        top: leaves to return for each input.
        progress: called now and then with the number of inputs that were labelled since it was last called.

    Raises:
        DataError: there is no input, or one that a problem does not take.
        RunError: a run is damaged, lacks a task or has other labels than its node has answers.
    """
    if not inputs:
        raise DataError("nothing to predict: no input was given")
    cascade = read_cascade(folder)
    tree = tree_of(cascade, folder)
    members = Members.of(cascade, tree, lambda what, done, of: None)
    thresholds = {**dict.fromkeys(tree.names, 0.0), **cascade.thresholds}
    found: list[Descent] = []
    for start in range(0, len(inputs), _AT_ONCE):
        some = inputs[start : start + _AT_ONCE]
        examples = {}
        for run in members.runs.values():
            # A subset has no fingerprint: of what is asked for once, nothing is kept.
            given = run.learner.model.problem.given(some)
            examples[run.path] = run.encode(given).subset(np.arange(len(some)))
        said = {node: members.answers(node, examples) for node in tree.names}
        answers = CascadeAnswers(tree, np.zeros(len(some), np.int64), said)
        likely = answers.leaf_probabilities
        best = np.argsort(-likely, axis=1, kind="stable")[:, : min(top, len(tree.leaves))]
        tried = tried_by_thresholds(answers, thresholds)
        for one, leaves, p, worth in zip(some, best, likely, tried, strict=True):
            names = tuple(tree.leaves[leaf] for leaf in leaves)
            left = tuple(tree.leaves[leaf] for leaf in np.flatnonzero(worth))
            shares = tuple(p[leaves].tolist())
            cells = {"predicted": names[0], "probability": shares[0]}
            found.append(Descent(one, names, shares, cells, path=tree.path(names[0]), tried=left))
        if progress is not None:
            progress(len(some))
    return found


def tree_of(cascade: Cascade, folder: Path) -> LabelTree:
    """Return the tree as the folder of a cascade says it, without its data.

    Raises:
        RunError: it does not say it.
    """
    if cascade.stream.nodes is None:
        raise RunError(f"{folder} does not name the nodes of its tree; make a folder with `plora cascade evaluate`")
    return LabelTree(cascade.stream.nodes)


def run_that_reads(folder: Path, task: str | None) -> Path:
    """Return the run of the first node, which says what the inputs of a cascade are.

    Raises:
        UnknownTaskError: a task is named.
    """
    if task is not None:
        raise UnknownTaskError(
            f"{folder} is a cascade, which finds its way without being told a task; leave --task out"
        )
    cascade = read_cascade(folder)
    return cascade.nodes[tree_of(cascade, folder).root][0].run
