"""Classes of maps that arrive in steps: which images a step has, what its maps say, what is scored."""

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError
from tiny_scenes import VALUES

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams import Scenes, Stream
from plora.streams.class_steps import ClassSteps, Protocol, classes_shown, images_of_steps
from plora.streams.labelled_images import IGNORED, LabelledImageArray

NAMES = ("cat", "ground", "dog", "cow")
MAPS = [[0, 1, 1], [1, 2, IGNORED], [0, 2, 1], [3, 1, 1], [0, 3, 2], [1, 1, 1]]
"""Of six images of three pixels; the ground is no class of a step."""


class Steps(ClassSteps):
    """Three classes on a ground, six images."""

    kind: str = "steps"

    def load(self) -> Stream:
        """Return the steps."""
        maps = [np.array([one], np.uint8) for one in MAPS]
        images = LabelledImageArray([np.full((1, 3, 3), 9, np.uint8) for _ in maps], maps, NAMES)
        shown = classes_shown(images)
        tasks, notes = self.steps(
            dict.fromkeys(("train", "validation", "test"), images),
            dict.fromkeys(("train", "validation", "test"), shown),
        )
        return Stream("steps", tasks, ("class",), notes=notes)


def said(stream: Stream, split: str) -> list[list[list[int]]]:
    """The maps of each task."""
    found = [dict(task.splits())[split] for task in stream.tasks]  # type: ignore[index]
    return [[one.classes[0].tolist() for one in part.read(np.arange(len(part)))] for part in found]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # cat, dog | cow: images 0, 1, 2, 4 show the first two, and 3, 4 the last.
        ("overlapped", [[[1, 0, 0], [0, 2, IGNORED], [1, 2, 0], [1, 0, 2]], [[3, 0, 0], [0, 3, 0]]]),
        ("disjoint", [[[1, 0, 0], [0, 2, IGNORED], [1, 2, 0]], [[3, 0, 0], [0, 3, 0]]]),
        ("partitioned", [[[1, 0, 0], [0, 2, IGNORED], [1, 2, 0]], [[3, 0, 0], [0, 3, 0]]]),
    ],
)
def test_a_step_learns_its_own_classes_on_background(protocol: Protocol, expected: list[list[list[int]]]) -> None:
    stream = Steps(init_cls=2, increment=1, background="ground", protocol=protocol).load()
    assert [task.label_names for task in stream.tasks] == [("ground", "cat", "dog"), ("cow",)]
    assert said(stream, "train") == said(stream, "validation") == expected
    # Test images are each in one step, that without a class in the smallest, and their maps have every class.
    assert said(stream, "test") == [[[1, 0, 0], [0, 2, IGNORED], [1, 2, 0]], [[3, 0, 0], [1, 3, 2], [0, 0, 0]]]
    assert stream.notes == {"class steps": f"{protocol}: ground, cat, dog | cow", "background": "ground"}
    stream.require("class")
    with pytest.raises(DataError, match="no domain-incremental form"):
        stream.require("domain")


def test_classes_are_in_the_order_in_which_they_arrive() -> None:
    stream = Steps(increment=1, class_order=("cow", "cat", "dog"), background="ground").load()
    assert [task.label_names for task in stream.tasks] == [("ground", "cow"), ("cat",), ("dog",)]
    assert {split.class_names for task in stream.tasks for _, split in task.splits()} == {  # type: ignore[attr-defined]
        ("ground", "cow", "cat", "dog")
    }
    assert said(stream, "train")[1] == [[2, 0, 0], [2, 0, 0], [2, 0, 0]]
    fingerprints = [task.fingerprints()["train"] for task in stream.tasks]
    assert len(set(fingerprints)) == 3


def test_a_background_is_added_where_there_is_none() -> None:
    stream = Steps(increment=2).load()
    assert [task.label_names for task in stream.tasks] == [("background", "cat", "ground"), ("dog", "cow")]
    assert said(stream, "train")[0][:2] == [[1, 2, 2], [2, 0, IGNORED]]


@pytest.mark.parametrize("seed", range(4))
def test_each_image_is_in_one_step_of_those_that_it_shows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    present, steps = rng.random((40, 6)) < 0.4, [[1, 2], [3], [4, 5]]
    found = images_of_steps(present, steps, "partitioned")
    owners = np.concatenate(found)
    assert sorted(owners.tolist()) == np.flatnonzero(present[:, 1:].any(axis=1)).tolist()
    overlapped, disjoint = (images_of_steps(present, steps, one) for one in ("overlapped", "disjoint"))  # type: ignore[arg-type]
    for step, classes in enumerate(steps):
        shows = present[:, classes].any(axis=1)
        assert shows[found[step]].all()
        assert np.array_equal(overlapped[step], np.flatnonzero(shows))
        later = [number for own in steps[step + 1 :] for number in own]
        assert np.array_equal(disjoint[step], np.flatnonzero(shows & ~present[:, later].any(axis=1)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="there is no class 'grund'; did you mean 'ground'"):
        Steps(increment=1, background="grund").load()
    with pytest.raises(DataError, match="do not divide"):
        Steps(init_cls=1, increment=4).load()
    with pytest.raises(ValidationError, match="protocol: of steps of classes; set increment"):
        Steps(protocol="disjoint")
    with pytest.raises(DataError, match=r"step 'classes-1-1' \(cat\) has no train images \(protocol disjoint\)"):
        _without_images().load()
    values = VALUES | {"stream": {"kind": "scenes", "increment": 4}, "scenario": "class"}
    for settings, message in (
        (("method=joint",), "leave stream.increment out"),
        (("loss_rows=seen",), "leave it out"),
        (("strategies=[{kind: ewc}]",), "reads scores of classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(values, settings)
    load_config(values, ("method=lwf",))


def _without_images() -> Steps:
    class Together(Steps):
        def steps(self, splits, present):  # type: ignore[no-untyped-def]
            """Every image shows every class."""
            return super().steps(splits, {split: np.ones_like(one) for split, one in present.items()})

    return Together(increment=1, protocol="disjoint", background="ground")


def test_scenes_arrive_in_steps() -> None:
    pytest.importorskip("sklearn")  # it ships photographs
    settings = {"domains": ("day", "dusk"), "classes": 5, "size": 32, "train": 8, "validation": 6, "test": 8}
    stream = Scenes(**settings, increment=2, protocol="partitioned").load()
    assert [len(task.label_names) for task in stream.tasks] == [3, 2]
    for task in stream.tasks:
        shown = set(_classes(task.train))
        first = 1 if task is stream.tasks[0] else 3
        assert shown <= {0, first, first + 1}
    assert sum(len(task.train) for task in stream.tasks) <= 16
    assert Scenes(**settings).load().fingerprint() == Scenes(**settings, background="ground").load().fingerprint()


def _classes(split: object) -> Sequence[int]:
    read = split.read(np.arange(len(split)))  # type: ignore[attr-defined, arg-type]
    return [int(number) for one in read for number in np.unique(one.classes)]
