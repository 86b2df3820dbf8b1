"""A tree over the classes of a stream: a task for each node, and every mistake in one line."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tiny_tree import tree_values

from plora.config import load_config
from plora.errors import ConfigError
from plora.runs import validate
from plora.streams import STREAMS, Stream, StreamSource, Task, TreeStream
from plora.streams.base import Texts
from tests.conftest import TOPICS

PARITY = {
    "parity": ("even", "odd"),
    "even": ("zero", "two", "four", "six", "eight"),
    "odd": ("one", "three", "five", "seven"),
}


def digits(**settings: object) -> TreeStream:
    """The tree of parity over digits."""
    values = {"of": {"kind": "digits", "per_task": 10}, "nodes": PARITY, "map": {"nine": "seven"}, **settings}
    found = STREAMS["tree"].model_validate({"kind": "tree", **values})
    assert isinstance(found, TreeStream)
    return found


def test_each_node_has_the_examples_below_it_and_its_own_answers() -> None:
    stream, all_of_them = digits().load(), digits().of.load().tasks[0]
    assert [task.name for task in stream.tasks] == ["parity", "even", "odd"]
    assert stream.scenarios == ("task",)
    names = np.array(all_of_them.label_names)[all_of_them.test.labels]
    root, even, odd = stream.tasks
    answers = np.array(root.label_names)[root.test.labels]
    assert [answer == "even" for answer in answers] == [name in PARITY["even"] for name in names]
    below = np.flatnonzero(np.isin(names, PARITY["even"]))
    assert np.array(even.label_names)[even.test.labels].tolist() == names[below].tolist()
    for mine, theirs in zip(even.test.read(np.arange(len(below))), all_of_them.test.read(below), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (np.array(odd.label_names)[odd.test.labels] == "seven").sum() == np.isin(names, ["seven", "nine"]).sum()
    assert odd.test.identities() is not None
    assert stream.fingerprint() == digits().load().fingerprint() != digits(map={}, drop=("nine",)).load().fingerprint()


def test_images_of_two_levels_are_read_in_any_order() -> None:
    even = digits().load().tasks[1].train
    order = np.random.default_rng(0).permutation(len(even))
    whole = even.read(np.arange(len(even)))
    for index, image in zip(order.tolist(), even.read(order), strict=True):
        np.testing.assert_array_equal(image, whole[index])


def test_dropped_classes_are_in_no_node() -> None:
    kept, dropped = digits().load(), digits(map={}, drop=("nine",)).load()
    lost = len(kept.tasks[0].train) - len(dropped.tasks[0].train)
    assert lost == len(kept.tasks[2].train) - len(dropped.tasks[2].train) > 0
    assert len(kept.tasks[1].train) == len(dropped.tasks[1].train)


def test_tasks_of_a_stream_are_nodes_where_none_are_named(
    tiny_backbone: Path, toy_files: dict[str, Path], tmp_path: Path
) -> None:
    config = load_config(tree_values(tiny_backbone, toy_files, tmp_path))
    stream = config.stream.load()
    assert [task.name for task in stream.tasks] == ["root", *TOPICS]
    assert stream.tasks[0].label_names == tuple(TOPICS)
    assert load_config(config.model_dump(mode="json")) == config


def test_a_config_says_its_mistakes_and_validate_reads_the_classes(
    tiny_backbone: Path, toy_files: dict[str, Path], tmp_path: Path
) -> None:
    values = tree_values(tiny_backbone, toy_files, tmp_path)
    with pytest.raises(ConfigError, match=r"^stream: got .*leaf 'fruit' stands"):
        load_config(values, ["stream.nodes={root: [fruit, b], b: [bread, fruit]}"])
    with pytest.raises(ConfigError, match=r"^stream\.of\.tsks: unknown key; did you mean 'tasks'"):
        load_config(values, ["stream.of.tsks=1"])
    with pytest.raises(ConfigError, match="stream: class 'air' has no leaf"):
        validate(load_config(values, ["stream.nodes={root: [fruit, bread]}"]))
    validate(load_config(values))


class Costly(StreamSource):
    """Four texts of three classes, and what each class costs as the answer to each of them."""

    kind: Literal["tests.cascade.test_tree_stream:Costly"] = "tests.cascade.test_tree_stream:Costly"

    def load(self) -> Stream:
        """Return them, as training, validation and test split."""
        split = CostlyTexts(("a", "b", "c", "d"), np.array([0, 1, 2, 1]))
        return Stream("costly", (Task("all", ("x", "y", "z"), split, split, split),))


class CostlyTexts(Texts):
    """Texts whose answers cost something."""

    costs = np.arange(12.0).reshape(4, 3)


def test_costs_of_answers_come_along_by_the_names_of_the_leaves() -> None:
    nodes = {"top": ("rest", "x"), "rest": ("z", "y")}
    values = {"kind": "tree", "of": {"kind": Costly.model_fields["kind"].default}, "nodes": nodes}
    tree = TreeStream.model_validate(values)
    found = tree.leaves("test")
    assert tree.tree().leaves == ("z", "y", "x")
    assert found.costs is not None
    np.testing.assert_array_equal(found.costs, CostlyTexts.costs[:, [2, 1, 0]])
    assert digits().leaves("test").costs is None
    fewer = TreeStream.model_validate({**values, "nodes": {"top": ("z", "y")}, "drop": ("x",)}).leaves("test")
    np.testing.assert_array_equal(fewer.costs, CostlyTexts.costs[1:][:, [2, 1]])
    mapped = TreeStream.model_validate({**values, "nodes": {"top": ("z", "y")}, "map": {"x": "z"}}).leaves("test")
    np.testing.assert_array_equal(mapped.costs, CostlyTexts.costs[:, [0, 1]])  # of x and z the cheaper, which is x
