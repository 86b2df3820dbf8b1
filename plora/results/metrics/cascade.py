"""What a tree of classifiers does with examples of all its classes: alone, told the way, and one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plora.streams.label_tree import LabelTree

Ids = NDArray[np.int64]
Which = NDArray[np.bool_]
Numbers = NDArray[np.float64]

ONE_ANSWER, OF_THEM = 0.95, 0.8
"""A node has collapsed where one answer is at least that share of its answers, and right for less than that share."""


@dataclass(frozen=True, eq=False)
class CascadeAnswers:
    """What each node of a tree says of N examples, whether they belong there or not.

    Args:
        tree: the nodes, and the leaves.
        truth: `[N]` the right leaf of each example.
        probabilities: node → `[N, answers]` float64, in the order of the node's answers; each row sums to 1.
    """

    tree: LabelTree
    truth: Ids
    probabilities: Mapping[str, Numbers]

    @cached_property
    def choices(self) -> dict[str, Ids]:
        """The likeliest answer of each node to each example, `[N]`."""
        return {node: found.argmax(axis=1) for node, found in self.probabilities.items()}

    @cached_property
    def arrived(self) -> dict[str, Which]:
        """Which examples each node, and each leaf, is sent where every node takes its likeliest answer, `[N]`."""
        found = {self.tree.root: np.ones(len(self.truth), dtype=bool)}
        for node in self.tree.names:
            for position, answer in enumerate(self.tree.nodes[node]):
                found[answer] = found[node] & (self.choices[node] == position)
        return found

    @cached_property
    def ends(self) -> Ids:
        """The leaf at which each example ends, `[N]`: the cascade as a pipeline."""
        found: Ids = np.stack([self.arrived[leaf] for leaf in self.tree.leaves]).argmax(axis=0)
        return found

    @cached_property
    def leaf_probabilities(self) -> Numbers:
        """`[N, leaves]`: p(leaf) = Π over the nodes on its way of p(answer that leads there)."""
        found = {self.tree.root: np.ones(len(self.truth))}
        for node in self.tree.names:
            for position, answer in enumerate(self.tree.nodes[node]):
                found[answer] = found[node] * self.probabilities[node][:, position]
        return np.stack([found[leaf] for leaf in self.tree.leaves], axis=1)

    def ends_from(self, node: str) -> Ids:
        """Return where examples end that are put at a node, `[N]`; what stands above it is not asked."""
        here = CascadeAnswers(
            LabelTree({name: answers for name, answers in self.tree.nodes.items() if self._stands_below(name, node)}),
            self.truth,
            self.probabilities,
        )
        places = np.array([self.tree.leaves.index(leaf) for leaf in here.tree.leaves])
        ends: Ids = places[here.ends]
        return ends

    def told(self) -> Ids:
        """Return where examples end that are told the way to the node above their leaf, `[N]`: oracle routing."""
        found = np.empty_like(self.truth)
        for node in self.tree.names:
            answers = self.tree.nodes[node]
            mine = np.isin(self.truth, [self.tree.leaves.index(leaf) for leaf in answers if leaf in self.tree.leaves])
            found[mine] = self.ends_from(node)[mine]
        return found

    def _stands_below(self, name: str, node: str) -> bool:
        return name == node or set(self.tree.below(name)) < set(self.tree.below(node))


@dataclass(frozen=True)
class NodeScore:
    """How one node g does, on the test examples I_g whose leaf lies below it unless another thing is said.

    Args:
        node: its name.
        support: |I_g|.
        arrived: examples that the nodes above send it, of all there are.
        strangers: those of them that do not belong there.
        accuracy: share whose answer at this node is right: the node alone.
        macro_f1: mean F1 of its answers that are right or given.
        alone: share whose leaf is right where the way to g is told, and below g every node takes its likeliest answer.
        recall: share that the nodes above send there.
        pipeline: share whose leaf is right from the root on.
        cascade_error: alone − pipeline.
        if_routed: share whose leaf is right, of those that are sent there; None where none is. pipeline = recall ·
            if_routed, exactly.
        selection_gap: if_routed − alone: 0 where what is sent there is as hard as what is not.
        collapsed: the answer that at least 95 % get though it is right for less than 80 %; empty where there is none.
        confusion: `[answers, answers]` examples of each answer, by the answer given.
    """

    node: str
    support: int
    arrived: int
    strangers: int
    accuracy: float
    macro_f1: float
    alone: float
    recall: float
    pipeline: float
    cascade_error: float
    if_routed: float | None
    selection_gap: float | None
    collapsed: str
    confusion: Ids


def node_scores(answers: CascadeAnswers) -> list[NodeScore]:
    """Return how each node of a cascade does, level after level."""
    return [_node_score(answers, node) for node in answers.tree.names]


def _node_score(answers: CascadeAnswers, node: str) -> NodeScore:
    tree = answers.tree
    right = tree.answers(node)[answers.truth]
    own, arrived = right >= 0, answers.arrived[node]
    counts = confusion_of(right[own], answers.choices[node][own], len(tree.nodes[node]))
    alone = answers.ends_from(node) == answers.truth
    pipeline = answers.ends == answers.truth
    routed = own & arrived
    share = counts.sum(axis=0) / counts.sum()
    often = int(share.argmax())
    fallen = share[often] >= ONE_ANSWER and counts.sum(axis=1)[often] / counts.sum() < OF_THEM
    if_routed = float(alone[routed].mean()) if routed.any() else None
    return NodeScore(
        node=node,
        support=int(own.sum()),
        arrived=int(arrived.sum()),
        strangers=int((arrived & ~own).sum()),
        accuracy=float(np.trace(counts) / counts.sum()),
        macro_f1=f1_of(counts),
        alone=float(alone[own].mean()),
        recall=float(arrived[own].mean()),
        pipeline=float(pipeline[own].mean()),
        cascade_error=float(alone[own].mean() - pipeline[own].mean()),
        if_routed=if_routed,
        selection_gap=None if if_routed is None else if_routed - float(alone[own].mean()),
        collapsed=tree.nodes[node][often] if fallen else "",
        confusion=counts,
    )


def confusion_of(truth: Ids, given: Ids, classes: int) -> Ids:
    """Return `[classes, classes]` counts: entry (i, j) are examples of class i that were taken for j."""
    found: Ids = np.bincount(truth * classes + given, minlength=classes**2).reshape(classes, classes).astype(np.int64)
    return found


def f1_of(counts: Ids) -> float:
    """Return the mean of F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c) over classes that are right or given for something."""
    occurring = counts.sum(axis=0) + counts.sum(axis=1)
    found = 2 * np.diag(counts)[occurring > 0] / occurring[occurring > 0]
    return float(found.mean())


def resampled_mean(values: Numbers, seed: int = 0, times: int = 1000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over examples, by the bootstrap.

    Args:
        values: `[N]` one number for each example.
        seed: of what is drawn.
        times: how often N examples are drawn with replacement.

    Source: Efron (1979), Bootstrap methods: another look at the jackknife; percentiles 2.5 and 97.5.
    """
    found = resampled_ratio(values, np.ones(len(values)), seed, times)
    return found[0], found[1]


def resampled_ratio(above: Numbers, below: Numbers, seed: int = 0, times: int = 1000) -> tuple[float, float]:
    """Return the 95 % interval of Σ above / Σ below over examples, drawn together, by the bootstrap.

    Args:
        above, below: `[N]` numbers of each example; the sum of `below` is over 0, and draws in which it is not are
            left out.
        seed: of what is drawn.
        times: how often N examples are drawn with replacement.
    """
    random, number = np.random.default_rng(seed), len(above)
    found = []
    for _ in range(times):
        drawn = random.integers(0, number, number)
        if (total := below[drawn].sum()) > 0:
            found.append(above[drawn].sum() / total)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
