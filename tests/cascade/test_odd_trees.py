"""Trees of classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_tree_stream import PARITY, Costly, digits

from plora.errors import DataError
from plora.streams import Stream, Task, TreeStream
from plora.streams.base import Texts
from plora.streams.routes import Routes


@pytest.mark.odd(
    "a class that is nowhere in the tree, a leaf in two places, or one that no class is", "refused, by name"
)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"map": {}}, "class 'nine' has no leaf in the tree"),
        ({"map": {"nine": "even"}}, "which is no leaf"),
        ({"nodes": {**PARITY, "odd": ("one", "zero")}}, "leaf 'zero' stands below 'even' and below 'odd'"),
        ({"nodes": {**PARITY, "even": ("zero",)}}, "has 1 answers"),
        ({"nodes": None, "map": {}}, "has one task"),
        ({"strangers": "noise"}, "there are no routes"),
        ({"of": {"kind": "scenes"}}, "unknown stream kind 'scenes'"),
    ],
)
def test_mistakes_are_said(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        digits(**settings).load()


@pytest.mark.odd("a node or an answer without a training example", "refused; names the node and the answer")
def test_a_node_without_examples_is_said() -> None:
    class Empty(Costly):
        def load(self) -> Stream:
            found = super().load()
            task = found.tasks[0]
            none_of_z = Texts(("a", "b"), np.array([0, 1]))
            return Stream("empty", (Task("all", task.label_names, none_of_z, none_of_z, none_of_z),))

    tree = TreeStream(kind="tree", of=Empty(), nodes={"top": ("rest", "x"), "rest": ("z", "y")})
    with pytest.raises(DataError, match="node 'rest': no training example has the answer 'z'"):
        tree.load()


@pytest.mark.odd("routes of other examples or of another tree, or a file that is none", "refused; says which differ")
def test_routes_that_do_not_fit_are_said(tmp_path: Path) -> None:
    train = digits().leaves("train").inputs
    path = tmp_path / "routes.json"
    other = Routes(digits().tree().leaves, "another hash", np.zeros(len(train), np.int64))
    other.write(path)
    with pytest.raises(DataError, match=r"they are of \d+ other examples"):
        digits(routes=path).load()
    Routes(("a", "b"), train.fingerprint(), other.ends).write(path)
    with pytest.raises(DataError, match="they lead to a, b, and the tree has zero"):
        digits(routes=path).load()
    Routes(digits().tree().leaves, train.fingerprint(), other.ends).write(path)
    with pytest.raises(DataError, match="send it no training example of 4 of its 4 answers"):
        digits(routes=path).load()
    path.write_text(json.dumps({"leaves": []}), encoding="utf-8")
    with pytest.raises(DataError, match="routes: "):
        digits(routes=path).load()
