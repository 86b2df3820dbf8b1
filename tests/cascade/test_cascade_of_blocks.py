"""A cascade of codec blocks: what its answers cost is told in the costs that the search of the blocks found."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))
from tiny_images import new_backbone

import plora
from plora.cascade import cascade_of_runs, evaluate_cascade
from plora.config import load_config
from plora.results.tables.cascade_table import table_of_ways
from plora.streams.blocks import excess_cost
from plora.streams.tree import TreeStream

pytest.importorskip("sklearn")  # extra quickstart: it ships the photographs
SOURCE = {
    "kind": "blocks",
    "data": {"kind": "photographs", "photographs": ["flower"], "size": 8, "quantisers": [48]},
    "train_per_class": 10,
    "validation_per_class": 5,
    "test_per_class": 12,
}
NODES = {"stage 1": ["NONE", "split"], "split": ["HORZ", "VERT", "SPLIT"]}


def test_what_answers_cost_follows_from_the_search(tmp_path: Path) -> None:
    values = {
        "name": "blocks",
        "problem": {"kind": "image_classification"},
        "stream": {"kind": "tree", "of": SOURCE, "nodes": NODES},
        "scenario": "task",
        "method": "frozen",
        "head": "ridge",
        "backbone": new_backbone("resnet"),
        "output": str(tmp_path / "runs"),
    }
    tree = plora.run(load_config(values))
    flat = plora.run(load_config({**values, "name": "flat", "stream": SOURCE}))
    found = evaluate_cascade(cascade_of_runs([tree], flat), tmp_path / "cascade")
    stream = load_config(values).stream
    assert isinstance(stream, TreeStream)
    test = stream.leaves("test")
    assert found.costed
    assert test.costs is not None
    assert np.array_equal(test.costs.argmin(axis=1), test.labels)
    curve = {point.at: point for point in found.curves["thresholds"]}
    assert curve[0].searches == 1  # every node decides: the pipeline
    assert curve[0].lost == pytest.approx(excess_cost(test.costs, np.array(found.ends)) / 100)
    assert curve[0].low <= curve[0].lost <= curve[0].high
    assert (curve[1].searches, curve[1].lost) == (len(found.leaves), 0)  # none does: all leaves are tried
    flat_curve = {point.at: point for point in found.curves["flat"]}
    assert flat_curve.keys() >= {1, 2}
    assert found.cost_gain is not None
    assert found.cost_gain.value == pytest.approx(curve[0].lost - flat_curve[1].lost)
    assert found.cost_gain.low <= found.cost_gain.value <= found.cost_gain.high
    assert "of the least cost" in " ".join(table_of_ways(found).notes)
