"""Which rows of the head belong to which task, in each scenario."""

from dataclasses import replace

import numpy as np
import pytest

from plora.errors import DataError
from plora.streams.base import Stream, Task, Texts
from plora.streams.incremental import LabelSpace


def task(name: str, labels: tuple[str, ...]) -> Task:
    ids = np.arange(len(labels), dtype=np.int64)
    parts = Texts(tuple(f"{name} {label}" for label in labels), ids)
    return Task(name, labels, parts, parts, parts)


DISJOINT = Stream("s", (task("one", ("a", "b")), task("two", ("c", "d", "e")), task("three", ("f", "g"))))
SHARED = Stream("s", (task("one", ("no", "yes")), task("two", ("no", "yes"))))


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_a_block_of_rows_per_task(scenario: str) -> None:
    space = LabelSpace.of(DISJOINT, scenario)
    assert [space.rows_of(name) for name in ("one", "two", "three")] == [slice(0, 2), slice(2, 5), slice(5, 7)]
    assert space.to_rows("two", np.array([0, 2])).tolist() == [2, 4]
    assert space.names == tuple("abcdefg")


def test_what_may_be_predicted_is_the_difference_between_the_scenarios() -> None:
    by_task, by_class = LabelSpace.of(DISJOINT, "task"), LabelSpace.of(DISJOINT, "class")
    assert by_task.visible("two", ["one", "two"]).tolist() == [False] * 2 + [True] * 3 + [False] * 2
    assert by_class.visible("two", ["one", "two"]).tolist() == [True] * 5 + [False] * 2


def test_domains_share_one_block() -> None:
    space = LabelSpace.of(SHARED, "domain")
    assert space.rows_of("one") == space.rows_of("two") == slice(0, 2)
    assert space.names == ("no", "yes")
    assert space.visible(None, ["one"]).all()


@pytest.mark.parametrize(
    ("stream", "scenario", "message"),
    [
        (DISJOINT, "domain", "scenario=domain needs the same labels in every task, but 'one' has"),
        (SHARED, "class", "scenario=class needs labels that differ between tasks, but 'no' is in both 'one' and 'two'"),
        (Stream("s", SHARED.tasks, ("domain",)), "task", "stream 's' has no task-incremental form"),
    ],
)
def test_a_scenario_that_the_stream_cannot_give(stream: Stream, scenario: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelSpace.of(stream, scenario)


def test_domains_whose_labels_stand_in_another_order_are_matched_by_name() -> None:
    first, second = SHARED.tasks
    other = Task(second.name, ("yes", "no"), *(replace(split, labels=1 - split.labels) for _, split in second.splits()))
    turned = replace(SHARED, tasks=(first, other)).in_one_order()
    assert [task.label_names for task in turned.tasks] == [("no", "yes")] * 2
    assert turned.fingerprint() == SHARED.fingerprint()  # each text has the label that it had
    LabelSpace.of(turned, "domain")
    assert DISJOINT.in_one_order() == DISJOINT


def test_the_refusal_of_equal_classes_names_the_setting_that_helps() -> None:
    with pytest.raises(DataError, match="distinct_labels: true"):
        LabelSpace.of(SHARED, "class")
