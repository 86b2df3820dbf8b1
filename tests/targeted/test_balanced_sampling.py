"""Balanced sampling: rare classes are drawn as often as others, the same each time, and a run learns what is drawn."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import quiet

from plora.batches.plan import plan_epoch
from plora.build import build
from plora.config import RunConfig
from plora.runs import run, verify

ROWS = np.array([0] * 90 + [1] * 8 + [2] * 2)


def chances() -> np.ndarray:
    counts = np.bincount(ROWS)
    return 1 / (3 * counts[ROWS])


def test_each_class_is_drawn_equally_often() -> None:
    lengths = np.arange(100) % 7 + 1
    epochs = [plan_epoch(lengths, 8, 0, 0, 0, epoch, chances=chances()) for epoch in range(40)]
    drawn = np.concatenate([indices for steps in epochs for indices in steps])
    assert len(drawn) == 40 * 100
    np.testing.assert_allclose(np.bincount(ROWS[drawn]) / len(drawn), 1 / 3, atol=0.03)
    again = plan_epoch(lengths, 8, 0, 0, 0, 3, chances=chances())
    assert [own.tolist() for own in again] == [own.tolist() for own in epochs[3]]
    plain = np.concatenate(plan_epoch(lengths, 8, 0, 0, 0, 3))
    assert sorted(plain.tolist()) == list(range(100))  # each once, where nothing is drawn


def test_a_run_draws_by_its_own_classes(toy_config: Callable[..., RunConfig]) -> None:
    config = toy_config("problem={kind: text_classification, sampling: balanced}", "training.epochs=1")
    train = build(config).tasks[0].splits["train"]
    found = train.chances
    assert found is not None
    assert found.sum() == pytest.approx(1)
    for row in np.unique(train.rows):
        assert found[train.rows == row].sum() == pytest.approx(1 / 2)
    some = np.flatnonzero(train.rows == train.rows[0])[:1]
    both = train.subset(some).followed_by([train.subset(np.flatnonzero(train.rows != train.rows[0]))])
    assert both.chances is not None
    assert both.chances[0] == pytest.approx(1 / 2)  # the only one of its class
    assert verify(run(config, quiet())).problems == ()
