"""Printed characters: rendered, offline, no two alike, and those to pretrain on apart from those of the stream."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from reference import glyph_choice

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams import Glyphs
from plora.streams.glyph_characters import PRETRAINING, STREAM
from plora.streams.glyph_fonts import FAMILIES, face_file, faces_with
from plora.streams.glyph_rendering import GlyphName, render
from plora.streams.glyph_shapes import EXTENT, SIDE, distance_field
from plora.streams.glyphs import GlyphImages

PRETRAINED = "".join(PRETRAINING.values())


def pixels(images: object, number: int = 10**9) -> np.ndarray:
    assert isinstance(images, GlyphImages)
    return np.stack(images.read(np.arange(min(number, len(images)))))


def test_ten_tasks_of_ten_characters() -> None:
    stream = Glyphs().load()
    assert len(stream.tasks) == 10
    assert stream.scenarios == ("task", "class")
    assert "".join(name for task in stream.tasks for name in task.label_names) == STREAM
    assert "".join(stream.tasks[0].label_names) == "0123456789"
    for task in stream.tasks:
        assert [len(split) for _, split in task.splits()] == [200, 50, 200]
    (task,) = Glyphs(part="pretraining").load().tasks
    assert task.label_names == tuple(PRETRAINED)


def test_what_is_learned_and_what_is_pretrained_on_have_no_character_in_common() -> None:
    assert len(set(STREAM)) == len(STREAM) == 100
    assert len(set(PRETRAINED)) == len(PRETRAINED) > 500
    assert not set(STREAM) & set(PRETRAINED)
    assert all(len(faces_with(character)) >= glyph_choice.STREAM_FACES for character in STREAM)
    assert all(len(faces_with(character)) >= glyph_choice.PRETRAINING_FACES for character in PRETRAINED)


def test_no_two_classes_look_alike() -> None:
    shapes = glyph_choice.pictures(STREAM)
    for one, other in combinations(STREAM, 2):
        assert glyph_choice.likeness(shapes[one], shapes[other]) < glyph_choice.ALIKE, (one, other)
    alike = glyph_choice.pictures("AАcC")  # the measure finds those that do: Latin A and Cyrillic А, c and C
    assert min(glyph_choice.likeness(alike[one], alike[other]) for one, other in ("AА", "cC")) > 0.93


@pytest.mark.slow
def test_the_characters_are_those_that_the_rule_chooses() -> None:
    assert "".join(glyph_choice.stream_characters()) == STREAM
    assert glyph_choice.pretraining_characters() == PRETRAINING


def test_a_picture_is_decided_by_its_name_alone() -> None:
    task = Glyphs().load().tasks[3]
    all_of_them = pixels(task.train)
    assert all_of_them.shape == (200, 32, 32)
    assert all_of_them.dtype == np.uint8
    some = np.array([150, 3, 77])
    assert np.array_equal(np.stack(task.train.read(some)), all_of_them[some])
    reordered = Glyphs(class_order="seed", increment=5).load()  # whatever task and place a class has
    name = task.label_names[0]
    (other,) = (one for one in reordered.tasks if name in one.label_names)
    label = other.label_names.index(name)
    assert other.train.labels is not None
    assert np.array_equal(pixels(other.train)[other.train.labels == label], all_of_them[:20])
    more = Glyphs(train_per_class=30).load().tasks[3]
    assert np.array_equal(pixels(more.train, 20), all_of_them[:20])


def test_no_picture_is_there_twice() -> None:
    (task,) = Glyphs(increment=100, train_per_class=8, validation_per_class=4, test_per_class=8).load().tasks
    found = [image.tobytes() for _, split in task.splits() for image in pixels(split)]
    found += [image.tobytes() for image in pixels(Glyphs(seed=1).load().tasks[0].train)]
    assert len(set(found)) == len(found) == 100 * 20 + 200
    keys = [key for _, split in task.splits() for key in split.identities() or ()]
    assert len(set(keys)) == len(keys) == 100 * 20
    assert task.test_duplicates() == 0


def test_pictures_of_a_class_differ_in_faces_sizes_and_levels_and_show_something() -> None:
    images = pixels(Glyphs().load().tasks[1].train).astype(float)
    assert (images.std(axis=(1, 2)) > 15).all()  # of 255: none is empty
    grounds, darkest = images[:, :3].mean(axis=(1, 2)), np.percentile(images, 5, axis=(1, 2))
    assert (grounds > darkest).all()  # ink is dark
    assert np.ptp(grounds) > 60
    faces = faces_with("A")
    drawn = {distance_field("A", face).tobytes() for face in faces}
    assert len(faces) == sum(len(own) for own in FAMILIES.values())
    assert len(drawn) == len(faces)


def test_a_distance_field_is_inside_where_there_is_ink() -> None:
    field = distance_field("Ж", "DejaVuSans")
    rows, columns = np.nonzero(field > 0)
    assert max(np.ptp(rows), np.ptp(columns)) in range(EXTENT - 3, EXTENT + 2)
    assert abs(rows.min() + rows.max() - SIDE) <= 2
    assert field[SIDE // 2, SIDE // 2] > 0
    assert field[0, 0] < -5
    steps = np.abs(np.diff(field.astype(float), axis=0))
    assert steps.max() < 2.5  # no jumps


def test_a_larger_picture_shows_the_same() -> None:
    names = [GlyphName("R", faces_with("R"), (7, number)) for number in range(20)]
    small, large = render(names, 32).astype(float), render(names, 64).astype(float)
    shrunk = large.reshape(20, 32, 2, 32, 2).mean(axis=(2, 4))
    alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(small, shrunk, strict=True)]
    assert min(alike) > 0.7
    assert np.mean(alike) > 0.9


def test_families_of_fonts_as_domains() -> None:
    stream = Glyphs(by="fonts", train_per_class=4).load()
    stream.require("domain")
    assert [task.name for task in stream.tasks] == list(FAMILIES)
    names = stream.tasks[0].label_names
    assert "".join(names) == "".join(name for name in STREAM if name.isascii())
    for task, family in zip(stream.tasks, FAMILIES, strict=True):
        assert isinstance(task.train, GlyphImages)
        assert {face for faces in task.train.faces for face in faces} == set(FAMILIES[family])
    for one, other in pairwise(stream.tasks):
        assert not {image.tobytes() for image in pixels(one.train)} & {image.tobytes() for image in pixels(other.train)}


def test_the_fingerprint_says_what_is_rendered_and_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Glyphs().load().fingerprint()
    assert Glyphs().load().fingerprint() == usual
    settings = [{"part": "pretraining"}, {"by": "fonts"}, {"increment": 20}, {"class_order": "seed"}, {"seed": 1}]
    settings += [{"size": 28}, {"train_per_class": 10}, {"validation_per_class": 6}, {"test_per_class": 10}]
    found = {usual, *(Glyphs(**setting).load().fingerprint() for setting in settings)}
    assert set(Glyphs().load().provenance) == {"matplotlib", "Pillow"}
    monkeypatch.setattr("PIL.__version__", "0.0")
    split = Glyphs().load().tasks[0].train.fingerprint()
    monkeypatch.undo()
    assert split != Glyphs().load().tasks[0].train.fingerprint()
    assert len(found) == 1 + len(settings)


def test_tasks_as_they_are_asked_for() -> None:
    stream = Glyphs(init_cls=50, increment=25, class_order="seed").load()
    assert [task.name for task in stream.tasks] == ["classes-001-050", "classes-051-075", "classes-076-100"]
    assert "".join(name for task in stream.tasks for name in task.label_names) != STREAM
    chosen = tuple(reversed(STREAM))
    assert Glyphs(class_order=chosen).load().tasks[0].label_names == chosen[:10]


@pytest.mark.parametrize(
    "setting",
    ["increment=1", "part=all", "by=domains", "class_order=random", "train_per_class=0", "size=8", "seed=-1"],
)
def test_a_setting_out_of_range_is_one_line(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"^[^\n]*stream.{setting.split('=')[0]}[^\n]*$"):
        load_config({"stream": {"kind": "glyphs"}}, [f"stream.{setting}"])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["by=fonts", "increment=10"], "init_cls, increment and class_order are of by: classes"),
        (["by=fonts", "part=pretraining"], "by: fonts is of part: stream"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(settings: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^[^\n]*{says}[^\n]*$"):
        load_config({"stream": {"kind": "glyphs"}}, [f"stream.{setting}" for setting in settings])


def test_classes_that_do_not_divide_are_one_line() -> None:
    with pytest.raises(DataError, match=r"^increment: 100 classes do not divide into 30 and then 30 a task[^\n]*$"):
        Glyphs(increment=30).load()


def test_a_font_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^matplotlib [^\n]* has no font [^\n]*Wingdings.ttf; reinstall it[^\n]*$"):
        face_file("Wingdings")
