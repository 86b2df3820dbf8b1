"""What is said of a cascade is what walking it example by example gives."""

import numpy as np
import pytest
from reference import cascade as slow
from sklearn.metrics import confusion_matrix, f1_score

from plora.results.comparison.searches import (
    choose_thresholds,
    saving,
    tried_by_thresholds,
    tried_of_likeliest,
)
from plora.results.metrics.cascade import (
    CascadeAnswers,
    confusion_of,
    f1_of,
    node_scores,
    resampled_mean,
)
from plora.streams import LabelTree

NODES = {"top": ("a", "left", "right"), "left": ("b", "c"), "right": ("d", "deep"), "deep": ("e", "f", "g")}
TREE = LabelTree(NODES)
N = 60


@pytest.fixture
def answers() -> CascadeAnswers:
    random = np.random.default_rng(3)
    truth = random.integers(0, len(TREE.leaves), N)
    said = {}
    for node, of_node in NODES.items():
        scores = random.normal(size=(N, len(of_node)))
        right = TREE.answers(node)[truth]
        scores[np.arange(N), np.maximum(right, 0)] += 1.5 * (right >= 0)
        said[node] = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return CascadeAnswers(TREE, truth, said)


def _each(answers: CascadeAnswers) -> list[dict[str, list[float]]]:
    return [{node: found[at].tolist() for node, found in answers.probabilities.items()} for at in range(N)]


def test_ways_and_probabilities_are_those_of_the_walk(answers: CascadeAnswers) -> None:
    for at, said in enumerate(_each(answers)):
        assert TREE.leaves[answers.ends[at]] == slow.walk(NODES, said, "top")[-1]
        expected = [slow.leaf_probability(NODES, said, leaf) for leaf in TREE.leaves]
        np.testing.assert_allclose(answers.leaf_probabilities[at], expected, rtol=1e-12)
        assert TREE.leaves[answers.ends_from("right")[at]] == slow.walk(NODES, said, "right")[-1]
    np.testing.assert_allclose(answers.leaf_probabilities.sum(axis=1), 1)


def test_numbers_of_nodes_are_those_of_the_walk(answers: CascadeAnswers) -> None:
    truth = [TREE.leaves[one] for one in answers.truth]
    for score in node_scores(answers):
        expected = slow.node_numbers(NODES, _each(answers), truth, score.node)
        assert {name: getattr(score, name) for name in expected} == pytest.approx(expected)
        assert score.if_routed is not None
        assert score.pipeline == pytest.approx(score.recall * score.if_routed)  # exact: one way leads to each leaf


def test_f1_and_confusion_are_those_of_scikit_learn(answers: CascadeAnswers) -> None:
    counts = confusion_of(answers.truth, answers.ends, len(TREE.leaves))
    np.testing.assert_array_equal(counts, confusion_matrix(answers.truth, answers.ends))
    assert f1_of(counts) == pytest.approx(f1_score(answers.truth, answers.ends, average="macro"))


def test_told_the_way_each_leaf_is_decided_by_the_node_above_it_alone(answers: CascadeAnswers) -> None:
    told = answers.told() == answers.truth
    for node in ("left", "deep"):
        own = TREE.answers(node)[answers.truth] >= 0
        right = answers.choices[node][own] == TREE.answers(node)[answers.truth][own]
        np.testing.assert_array_equal(told[own], right)


def test_a_node_that_answers_one_thing_has_collapsed(answers: CascadeAnswers) -> None:
    assert [score.collapsed for score in node_scores(answers)] == ["", "", "", ""]
    stuck = {**answers.probabilities, "left": np.tile([0.2, 0.8], (N, 1))}
    scores = node_scores(CascadeAnswers(TREE, answers.truth, stuck))
    assert [score.collapsed for score in scores] == ["", "c", "", ""]


def test_leaves_tried_are_those_of_the_walk(answers: CascadeAnswers) -> None:
    thresholds = {"top": 0.5, "left": 0.9, "right": 0.0, "deep": 1.0}
    found = tried_by_thresholds(answers, thresholds)
    for at, said in enumerate(_each(answers)):
        names = [TREE.leaves[leaf] for leaf in np.flatnonzero(found[at])]
        assert names == sorted(slow.tried(NODES, said, thresholds, "top"), key=TREE.leaves.index)
    surely = tried_by_thresholds(answers, dict.fromkeys(NODES, 0.0))
    np.testing.assert_array_equal(surely.argmax(axis=1), answers.ends)
    assert (surely.sum(axis=1) == 1).all()
    assert tried_by_thresholds(answers, dict.fromkeys(NODES, 1.0)).all()


def test_what_is_lost_is_what_the_search_would_have_found(answers: CascadeAnswers) -> None:
    costs = np.random.default_rng(0).uniform(1, 3, (N, len(TREE.leaves)))
    tried = tried_of_likeliest(answers.leaf_probabilities, 3)
    found = saving(tried, answers.truth, costs)
    searches, lost = slow.searched([np.flatnonzero(row).tolist() for row in tried], costs.tolist())
    assert (found.searches, found.lost) == pytest.approx((searches, lost))
    assert found.saved == pytest.approx(1 - 3 / 7)
    assert found.low <= found.lost <= found.high
    missed = saving(tried, answers.truth, None)
    assert missed.lost == np.mean([answers.truth[at] not in np.flatnonzero(row) for at, row in enumerate(tried)])
    assert saving(tried_of_likeliest(answers.leaf_probabilities, 7), answers.truth, costs).lost == 0


def test_a_best_leaf_that_costs_nothing_does_not_change_the_unit(answers: CascadeAnswers) -> None:
    costs = np.random.default_rng(0).uniform(900, 1100, (N, len(TREE.leaves)))
    tried = tried_of_likeliest(answers.leaf_probabilities, 3)
    lost = saving(tried, answers.truth, costs).lost
    costs[0, 0] = 0
    found = saving(tried, answers.truth, costs)
    best = costs.min(axis=1)
    expected = (np.where(tried, costs, np.inf).min(axis=1) - best).sum() / best.sum()
    assert found.lost == pytest.approx(expected)
    assert found.lost == pytest.approx(lost, abs=0.05)
    assert found.low <= found.lost <= found.high


def test_a_larger_loss_allows_more_saving_and_is_kept_to(answers: CascadeAnswers) -> None:
    saved = []
    for budget in (0.0, 0.1, 0.3, 1.0):
        thresholds = choose_thresholds(answers, None, budget)
        found = saving(tried_by_thresholds(answers, thresholds), answers.truth, None)
        assert found.lost <= budget
        saved.append(found.saved)
    assert saved == sorted(saved)
    assert saved[0] < saved[-1] == pytest.approx(1 - 1 / 7)


def test_an_interval_has_its_mean_inside_and_narrows_with_the_root_of_the_examples() -> None:
    few, many = np.tile([0.0, 1.0], 50), np.tile([0.0, 1.0], 5000)
    low, high = resampled_mean(few)
    assert low < 0.5 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.15)
    assert resampled_mean(few) == (low, high)
    narrow = resampled_mean(many)
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 10, rel=0.25)
