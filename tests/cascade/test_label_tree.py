"""Trees of classes: the way to a leaf, and every mistake in one line."""

import numpy as np
import pytest

from plora.errors import DataError
from plora.streams import LabelTree

BLOCKS = LabelTree(
    {
        "partition": ("NONE", "PARTITION"),
        "RECT": ("HORZ", "VERT"),
        "PARTITION": ("SPLIT", "RECT", "AB"),
        "AB": ("HORZ_A", "HORZ_B", "VERT_A", "VERT_B"),
    }
)


def test_a_tree_knows_its_ways() -> None:
    assert BLOCKS.root == "partition"
    assert BLOCKS.names == ("partition", "PARTITION", "RECT", "AB")
    assert BLOCKS.leaves == ("NONE", "SPLIT", "HORZ", "VERT", "HORZ_A", "HORZ_B", "VERT_A", "VERT_B")
    assert BLOCKS.path("VERT") == ("partition", "PARTITION", "RECT", "VERT")
    assert BLOCKS.below("RECT") == ("HORZ", "VERT")
    np.testing.assert_array_equal(BLOCKS.answers("PARTITION"), [-1, 0, 1, 1, 2, 2, 2, 2])


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ({"a": ("x",)}, "node 'a' has 1 answers; a question needs at least two"),
        ({"a": ("x", "b"), "b": ("y", "x")}, "leaf 'x' stands below 'a' and below 'b'"),
        ({"a": ("x", "x")}, "leaf 'x' stands twice below 'a'"),
        ({"a": ("x", "y"), "b": ("z", "w")}, "here are 2: 'a', 'b'"),
        ({"a": ("x", "b"), "b": ("y", "a")}, "here are 0: none"),
        ({"a": ("x", "y"), "b": ("c", "z"), "c": ("b", "w")}, "node 'b' cannot be reached from 'a'"),
    ],
)
def test_what_is_no_tree_is_said(nodes: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        LabelTree(nodes)


@pytest.mark.parametrize(
    ("labels", "mapped", "dropped", "said"),
    [
        (("HORZ_4",), {}, (), "class 'HORZ_4' has no leaf in the tree; put it below a node, or name it in map or drop"),
        (("horz",), {}, (), "it differs from 'HORZ' in case"),
        ((), {"HORZ_4": "HORZ"}, (), "map: no class 'HORZ_4'"),
        (("HORZ_4",), {"HORZ_4": "RECT"}, (), "'HORZ_4' goes to 'RECT', which is no leaf"),
        (("HORZ_4",), {"HORZ_4": "HORZ"}, ("HORZ_4",), "stands in map and in drop"),
        ((), {"NONE": "SPLIT"}, (), "map: 'NONE' is a leaf of the tree"),
    ],
)
def test_classes_without_a_place_are_said(
    labels: tuple[str, ...], mapped: dict[str, str], dropped: tuple[str, ...], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        BLOCKS.require_labels((*BLOCKS.leaves, *labels), mapped, dropped)


def test_a_leaf_that_no_class_is_is_said() -> None:
    with pytest.raises(DataError, match="leaf 'VERT_B' is no class of the data"):
        BLOCKS.require_labels(BLOCKS.leaves[:-1], {}, ())
