"""What a cascade saves whoever searches among its leaves, and what that costs: top k, and nodes that abstain."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from plora.results.comparison.sampling import wilson
from plora.results.metrics.cascade import CascadeAnswers, Ids, Numbers, Which, resampled_ratio

THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
"""Confidences among which those of the nodes are chosen; at 0 a node always decides, at 1 never."""


@dataclass(frozen=True)
class Saving:
    """What is saved and lost where only some leaves are tried, and the best of them is taken.

    Args:
        searches: leaves tried, on average.
        saved: 1 − searches / leaves.
        lost: Σ (cost of the best leaf tried − cost of the best leaf) / Σ cost of the best leaf, or / N where the best
            cost nothing; without costs the share of examples whose right leaf is not tried.
        low, high: the 95 % interval of `lost` over examples: of costs by the bootstrap, of a share Wilson's.
    """

    searches: float
    saved: float
    lost: float
    low: float
    high: float


def tried_by_thresholds(answers: CascadeAnswers, thresholds: Mapping[str, float]) -> Which:
    """Return which leaves are tried of each example, `[N, leaves]`.

    A node whose likeliest answer has a probability above its threshold sends an example on to that alone, any other
    one to all its answers.

    Args:
        answers: of the nodes.
        thresholds: node → 0 (it always decides) to 1 (never).
    """
    tree = answers.tree
    found = {tree.root: np.ones(len(answers.truth), dtype=bool)}
    for node in tree.names:
        unsure = answers.probabilities[node].max(axis=1) <= thresholds[node]
        for position, answer in enumerate(tree.nodes[node]):
            found[answer] = found[node] & (unsure | (answers.choices[node] == position))
    return np.stack([found[leaf] for leaf in tree.leaves], axis=1)


def tried_of_likeliest(probabilities: Numbers, k: int) -> Which:
    """Return the k likeliest classes of each example, `[N, classes]`; of equal ones the first.

    Args:
        probabilities: `[N, classes]`.
        k: at least 1.
    """
    found = np.zeros(probabilities.shape, dtype=bool)
    np.put_along_axis(found, np.argsort(-probabilities, axis=1, kind="stable")[:, :k], True, axis=1)
    return found


def lost_of(tried: Which, truth: Ids, costs: Numbers | None) -> tuple[Numbers, Numbers]:
    """Return what each example loses by what is not tried, and what that is a share of, `[N]` each; see `Saving`."""
    if costs is None:
        return (~tried[np.arange(len(truth)), truth]).astype(np.float64), np.ones(len(truth))
    best = costs.min(axis=1)
    lost = np.where(tried, costs, np.inf).min(axis=1) - best
    return lost, best if best.sum() > 0 else np.ones(len(truth))


def saving(tried: Which, truth: Ids, costs: Numbers | None) -> Saving:
    """Return what trying some leaves saves and loses.

    Args:
        tried: `[N, leaves]`, at least one of each example.
        truth: `[N]` the right leaf.
        costs: `[N, leaves]` what each leaf costs, 0 or more; None: a leaf is right or wrong.
    """
    lost, of = lost_of(tried, truth, costs)
    if costs is None:
        low, high = (float(end) for end in wilson(np.array([lost.mean()]), [len(lost)])[0])
    else:
        low, high = resampled_ratio(lost, of)
    searches = float(tried.sum(axis=1).mean())
    return Saving(searches, 1 - searches / tried.shape[1], float(lost.sum() / of.sum()), low, high)


def choose_thresholds(answers: CascadeAnswers, costs: Numbers | None, budget: float) -> dict[str, float]:
    """Return thresholds that save the most searches found while no more than a budget is lost.

    At first no node decides. Then, again and again, that threshold of one node is lowered that saves most and keeps the
    loss within the budget (of equal ones that which loses less), until none saves more.

    Args:
        answers: on validation examples: test examples choose nothing.
        costs: as in `saving`.
        budget: the largest loss, as `Saving.lost` has it.
    """
    found = dict.fromkeys(answers.tree.names, 1.0)
    searches = float(len(answers.tree.leaves))
    while True:
        best: tuple[float, float, str, float] | None = None
        for node, threshold in found.items():
            for lower in (one for one in THRESHOLDS if one < threshold):
                tried = tried_by_thresholds(answers, {**found, node: lower})
                lost, of = lost_of(tried, answers.truth, costs)
                share, now = float(lost.sum() / of.sum()), float(tried.sum(axis=1).mean())
                if share <= budget and now < searches and (best is None or (now, share) < best[:2]):
                    best = now, share, node, lower
        if best is None:
            return found
        searches, _, node, lower = best
        found[node] = lower
