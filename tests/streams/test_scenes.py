"""Rendered scenes: named by keys, exact maps, domains that differ, nothing that depends on where they are read."""

import numpy as np
import pytest

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams import STREAMS, LabelledImage, Scenes, Task
from plora.streams.glyph_shapes import EXTENT, SIDE
from plora.streams.photographs import PHOTOGRAPHS, photograph
from plora.streams.scene_rendering import LOOKS, SceneName, render_scene
from plora.streams.scene_shapes import SHAPES, shape_field
from plora.streams.scenes import SceneImages

pytest.importorskip("sklearn")  # extra quickstart: it ships two of the photographs


def scenes(task: Task, number: int = 10**9) -> list[LabelledImage]:
    assert isinstance(task.train, SceneImages)
    return list(task.train.read(np.arange(min(number, len(task.train)))))


def test_each_domain_is_a_task_of_the_same_classes() -> None:
    stream = STREAMS["scenes"]().load()
    assert [task.name for task in stream.tasks] == ["day", "haze", "dusk", "night"]
    assert stream.scenarios == ("task", "domain")
    for task in stream.tasks:
        assert task.label_names == ()
        assert [len(split) for _, split in task.splits()] == [200, 40, 100]
        assert {split.class_names for _, split in task.splits()} == {("ground", *SHAPES)}  # type: ignore[attr-defined]
    (task,) = Scenes(domains=("night",), classes=4, size=64, train=3).load().tasks
    for one in scenes(task):
        assert one.image.shape == (64, 64, 3)
        assert one.image.dtype == one.classes.dtype == np.uint8
        assert one.classes.max() < 4


def test_a_scene_is_decided_by_its_name_alone() -> None:
    task = Scenes(size=48).load().tasks[2]
    some = task.train.read(np.array([7, 2]))
    other = Scenes(size=48, domains=("dusk",), train=9).load().tasks[0]
    for one, again in zip(some, (scenes(other)[7], scenes(other)[2]), strict=True):
        assert isinstance(one, LabelledImage)
        assert np.array_equal(one.image, again.image)
        assert np.array_equal(one.classes, again.classes)


def test_no_scene_is_there_twice() -> None:
    settings = {"size": 32, "train": 4, "validation": 3, "test": 3}
    found = [
        one.image.tobytes()
        for seed in (0, 1)
        for task in Scenes(**settings, seed=seed).load().tasks
        for _, split in task.splits()
        for one in split.read(np.arange(len(split)))
        if isinstance(one, LabelledImage)
    ]
    assert len(set(found)) == len(found) == 2 * 4 * 10
    for task in Scenes(**settings).load().tasks:
        assert task.test_duplicates() == 0


def test_a_map_is_where_objects_are() -> None:
    """Of two renderings that differ in one class alone, pixels outside of it are the same, and inside they differ."""
    name = SceneName(LOOKS["day"], ("square",), (3, 4))
    one = render_scene(name, 64)
    assert set(np.unique(one.classes)) == {0, 1}
    inside = one.classes == 1
    ground = render_scene(SceneName(LOOKS["day"], ("disc",), (3, 4)), 64)
    either = inside | (ground.classes == 1)
    far = ~np.pad(either, 1).astype(bool)
    near = sum(np.roll(np.roll(~far, down, 0), right, 1) for down in (-1, 0, 1) for right in (-1, 0, 1))
    untouched = (near == 0)[1:-1, 1:-1]
    assert untouched.mean() > 0.1
    assert np.array_equal(one.image[untouched], ground.image[untouched])
    corners = inside & (ground.classes == 0)
    assert corners.any()
    assert (np.abs(one.image[corners].astype(int) - ground.image[corners]).max(-1) > 8).mean() > 0.8


def test_a_larger_scene_shows_the_same() -> None:
    for key in range(6):
        name = SceneName(LOOKS["haze"], SHAPES, (5, key))
        small, large = render_scene(name, 48), render_scene(name, 96)
        assert (large.classes[1::2, 1::2] == small.classes).mean() > 0.93
        shrunk = large.image.reshape(48, 2, 48, 2, 3).mean(axis=(1, 3))
        assert np.corrcoef(shrunk.ravel(), small.image.ravel())[0, 1] > 0.85


def test_every_class_is_there_and_most_is_ground() -> None:
    for settings in ({}, {"objects": "characters", "classes": 12}):
        task = Scenes(size=32, **settings).load().tasks[0]
        counts = np.bincount(np.concatenate([one.classes.ravel() for one in scenes(task, 60)]))
        shares = counts / counts.sum()
        assert len(counts) == len(task.train.class_names)  # type: ignore[attr-defined]
        assert 0.5 < shares[0] < 0.97
        assert shares[1:].min() > 0.0005


def test_objects_differ_from_what_they_cover() -> None:
    """In each domain a border between classes is seen: its pixels differ more than neighbours of one class do."""
    for task in Scenes(size=64, domains=("day", "haze", "dusk", "night")).load().tasks:
        across, within = [], []
        for one in scenes(task, 10):
            grey = one.image.astype(float).mean(-1)
            step, border = np.abs(np.diff(grey, axis=1)), np.diff(one.classes.astype(int), axis=1) != 0
            across.append(step[border])
            within.append(step[~border])
        assert np.concatenate(across).mean() > 1.5 * np.concatenate(within).mean(), task.name


def test_domains_differ_in_light() -> None:
    tasks = Scenes(size=32).load().tasks
    means = {task.name: np.mean([one.image.mean() for one in scenes(task, 12)]) for task in tasks}
    assert means["night"] < means["dusk"] < means["day"]
    spread = {task.name: np.mean([one.image.std() for one in scenes(task, 12)]) for task in tasks}
    assert spread["haze"] < spread["day"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_field_of_a_shape_is_a_distance(shape: str) -> None:
    field = shape_field(shape).astype(float)
    assert field.shape == (SIDE, SIDE)
    assert (field > 0).sum() > 150
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 1.1  # a step is never longer than itself
    rows, columns = np.nonzero(field > 0)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - EXTENT) < 8
    assert field[0, 0] < 0


def test_the_fingerprint_says_what_is_rendered_and_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Scenes().load().fingerprint()
    assert Scenes().load().fingerprint() == usual
    settings = [{"seed": 1}, {"size": 64}, {"classes": 5}, {"objects": "characters"}, {"train": 9}, {"test": 9}]
    settings += [{"domains": ("haze", "day")}, {"validation": 9}]
    found = {usual, *(Scenes(**setting).load().fingerprint() for setting in settings)}
    assert len(found) == 1 + len(settings)
    split = Scenes().load().tasks[0].train
    before = split.fingerprint()
    monkeypatch.setattr("plora.streams.scenes.photograph_hash", lambda name: "another file")
    assert split.fingerprint() != before


def test_photographs_are_read_once_and_as_colours() -> None:
    for name in PHOTOGRAPHS:
        pixels = photograph(name)
        assert pixels.ndim == 3
        assert min(pixels.shape[:2]) > 400
        assert photograph(name) is pixels
        assert pixels.std() > 30


def test_a_photograph_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plora.streams.photographs.find_spec", lambda name: None)
    monkeypatch.setitem(PHOTOGRAPHS, "moon", ("sklearn", "moon.jpg"))
    with pytest.raises(DataError, match=r'^the photograph \'moon\' is the file [^\n]*"plora\[quickstart\]"$'):
        photograph("moon")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("domains=[dya]", "there is no domain 'dya'; did you mean 'day'"),
        ("domains=[day,day]", "a domain stands there twice"),
        ("domains=[]", "stream.domains"),
        ("classes=10", "classes: 10, and shapes make 9 with the ground"),
        ("classes=1", "stream.classes"),
        ("size=8", "stream.size"),
        ("objects=cars", "stream.objects"),
        ("train=0", "stream.train"),
    ],
)
def test_a_setting_out_of_range_is_one_line(setting: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"stream": {"kind": "scenes"}}, [f"stream.{setting}"])
    assert says in str(caught.value)
    assert len(caught.value.problems) == 1
