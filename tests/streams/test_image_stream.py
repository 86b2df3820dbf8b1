"""Streams of images: from folders, parquet and the hub's layout; by classes and by domains; what is refused."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.runs.validating import validate
from plora.streams.base import Stream
from plora.streams.image_stream import ImageStream
from plora.streams.stored_images import StoredImages

SHARED = Path(__file__).parents[3] / "shared" / "data" / "images"
CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox")
REAL = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")


def png(label: int, number: int, shift: int = 0) -> bytes:
    """An image whose pixels say which one it is."""
    stream = io.BytesIO()
    Image.fromarray(np.array([[[label, number, shift]] * 5] * 4, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def says(stream: Stream) -> dict[str, list[tuple[str, int]]]:
    """Of each split over all tasks: the class that an image is labelled as, and the number that its pixels say."""
    found: dict[str, list[tuple[str, int]]] = {"train": [], "validation": [], "test": []}
    for task in stream.tasks:
        for name, split in task.splits():
            assert isinstance(split, StoredImages)
            images = split.read(np.arange(len(split)))
            for image, label in zip(images, split.labels.tolist(), strict=True):
                assert task.label_names[label] == CLASSES[image[0, 0, 0]]
                found[name].append((task.label_names[label], int(image[0, 0, 1])))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images of each class, one folder per class."""
    for label, name in enumerate(CLASSES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(png(label, number))
    (tmp_path / "photos" / "ant" / ".hidden").write_text("no image")
    return tmp_path / "photos"


def stream(data: Mapping[str, object] | Path, **settings: object) -> Stream:
    given = {"kind": "folder", "root": str(data)} if isinstance(data, Path) else dict(data)
    return ImageStream.model_validate({"data": given, **settings}).load()


def table(rows: Sequence[tuple[int, int, str, str]], struct: bool = False, shift: int = 0) -> pa.Table:
    """Rows of class, number, domain and split."""
    images = [png(label, number, shift) for label, number, _, _ in rows]
    cells = pa.array([{"bytes": image, "path": None} for image in images] if struct else images)
    names = ("label", "domain", "split")
    columns = [
        pa.array([CLASSES[label] for label, *_ in rows]),
        *(pa.array([row[at] for row in rows]) for at in (2, 3)),
    ]
    return pa.table({"image": cells, **dict(zip(names, columns, strict=True))})


EACH = [
    (label, number, ("ink", "oil")[number % 2], "test" if number > 7 else "train")
    for label in range(len(CLASSES))
    for number in range(10)
]
"""Ten rows of each class."""


def test_a_folder_per_class(folder: Path) -> None:
    loaded = stream(folder, increment=2)
    assert [task.name for task in loaded.tasks] == ["classes-1-2", "classes-3-4", "classes-5-6"]
    assert [task.label_names for task in loaded.tasks] == [CLASSES[:2], CLASSES[2:4], CLASSES[4:]]
    assert [[len(split) for _, split in task.splits()] for task in loaded.tasks] == [[14, 2, 4]] * 3
    found = says(loaded)
    everything = sorted(one for of_split in found.values() for one in of_split)
    assert everything == sorted((name, number) for name in CLASSES for number in range(10))  # each in one split
    assert loaded.scenarios == ("task", "class")
    assert all(task.train.slow for task in loaded.tasks)


def test_splits_depend_on_the_images_and_the_seed_alone(folder: Path) -> None:
    first = says(stream(folder, increment=2))
    assert says(stream(folder, increment=2, class_order="seed", class_seed=5))["test"] != first["test"]
    assert sorted(says(stream(folder, increment=2, class_order="seed", class_seed=5))["test"]) == sorted(first["test"])
    assert says(stream(folder, increment=3))["test"] == first["test"]
    assert sorted(says(stream(folder, increment=2, split_seed=1))["test"]) != sorted(first["test"])
    for number in range(10):  # other names, another order
        (folder / "bee" / f"{number}.png").rename(folder / "bee" / f"{9 - number}-renamed.png")
    assert sorted(says(stream(folder, increment=2))["test"]) == sorted(first["test"])


def test_split_folders_are_taken_as_they_are(folder: Path) -> None:
    for name in CLASSES:
        for split, numbers in (("train", range(6)), ("validation", range(6, 7)), ("test", range(7, 10))):
            (folder / split / name).mkdir(parents=True)
            for number in numbers:
                (folder / name / f"{number}.png").rename(folder / split / name / f"{number}.png")
        for left in (folder / name).iterdir():
            left.unlink()
        (folder / name).rmdir()
    found = says(stream(folder, increment=6))
    assert {split: len(of_split) for split, of_split in found.items()} == {"train": 36, "validation": 6, "test": 18}
    assert {number for _, number in found["test"]} == {7, 8, 9}
    (folder / "val").mkdir()
    with pytest.raises(
        DataError, match=r"^folder '.*photos' has a folder 'val' beside 'train'; [^\n]*'validation'[^\n]*$"
    ):
        stream(folder, increment=6)


@pytest.mark.parametrize("struct", [True, False], ids=["the hub's struct", "plain bytes"])
def test_parquet_of_bytes(tmp_path: Path, struct: bool) -> None:
    pa.parquet.write_table(table([row for row in EACH if row[3] == "train"], struct), tmp_path / "train.parquet")
    pa.parquet.write_table(table([row for row in EACH if row[3] == "test"], struct), tmp_path / "test.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "train.parquet"), "test": str(tmp_path / "test.parquet")}
    found = says(stream(data, increment=3))
    assert {split: len(of_split) for split, of_split in found.items()} == {"train": 42, "validation": 6, "test": 12}
    assert {number for _, number in found["test"]} == {8, 9}
    files = {"kind": "parquet", "train": [str(tmp_path / "test.parquet"), str(tmp_path / "train.parquet")]}
    assert sum(map(len, says(stream(files, increment=3)).values())) == 60
    assert sum(map(len, says(stream({**data, "train": str(tmp_path), "test": None}, increment=3)).values())) == 60


def test_one_parquet_file_with_a_column_of_splits(tmp_path: Path) -> None:
    pa.parquet.write_table(table(EACH), tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet"), "split": "split"}
    loaded = stream(data, increment=2)
    assert {number for _, number in says(loaded)["test"]} == {8, 9}
    twice = {**data, "test": str(tmp_path / "all.parquet")}
    with pytest.raises(DataError, match=r"^the test images are given twice: by data.test and by data.split$"):
        stream(twice, increment=2)
    with pytest.raises(DataError, match=r"row 1: column 'domain' says 'ink'; expected train, validation or test$"):
        stream({**data, "split": "domain"}, increment=2)


def test_the_same_images_have_the_same_fingerprint_wherever_they_are(folder: Path, tmp_path: Path) -> None:
    pa.parquet.write_table(table(EACH, True), tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet")}
    assert stream(data, increment=2).fingerprint() == stream(folder, increment=2).fingerprint()
    others = ({"increment": 3}, {"class_order": "seed"}, {"split_seed": 3}, {"reading": {"ground": [0, 0, 0]}})
    prints = {stream(folder, **{"increment": 2, **other}).fingerprint() for other in ({}, *others)}
    assert len(prints) == 1 + len(others)
    (folder / "ant" / "0.png").write_bytes(png(0, 0, shift=1))
    assert stream(folder, increment=2).fingerprint() not in prints


def test_caps_are_chosen_by_content(folder: Path) -> None:
    loaded = stream(folder, increment=6, train_per_class=4, validation_per_class=2, test_per_class=3)
    (task,) = loaded.tasks
    assert [len(split) for _, split in task.splits()] == [24, 12, 18]
    assert np.bincount(task.train.labels).tolist() == [4] * 6  # type: ignore[arg-type]


def test_equal_images_stay_on_one_side(folder: Path) -> None:
    for number in range(10):
        (folder / "ant" / f"copy-{number}.png").write_bytes(png(0, number))
    assert [task.test_duplicates() for task in stream(folder, increment=2).tasks] == [0, 0, 0]


def test_class_orders_are_said_and_are_not_the_run_s_seed(folder: Path) -> None:
    order = np.random.RandomState(1993).permutation(6).tolist()
    loaded = stream(folder, init_cls=4, increment=2, class_order="seed")
    assert [name for task in loaded.tasks for name in task.label_names] == [CLASSES[number] for number in order]
    assert loaded.notes["class order"] == f"seed 1993: {' '.join(map(str, order[:5]))} …"
    says(loaded)  # labels follow their images
    named = stream(folder, increment=3, class_order=["fox", "elk", "dog", "cat", "bee", "ant"])
    assert named.tasks[0].label_names == ("fox", "elk", "dog")
    assert named.notes["class order"] == "a list: 5 4 3 2 1 …"
    assert stream(folder, increment=3).notes["class order"] == "natural: 0 1 2 3 4 …"


def test_numbered_folders_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "1"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "p" / name / f"{number}.png").write_bytes(png(0, number, int(name)))
    assert stream(tmp_path / "p").tasks[0].label_names == ("1", "9", "10")


# ---------------------------------------------------------------------- domains


def test_domains_by_a_column_and_by_folders_are_the_same_stream(tmp_path: Path) -> None:
    rows = [(label, number, domain, "") for label, number, domain, _ in EACH]
    pa.parquet.write_table(table(rows), tmp_path / "all.parquet")
    for label, number, domain, _ in rows:
        place = tmp_path / "art" / domain / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(label, number))
    by_column = {"kind": "parquet", "train": str(tmp_path / "all.parquet"), "domain": "domain"}
    by_folder = {"kind": "folder", "root": str(tmp_path / "art"), "domains": True}
    loaded = stream(by_column, by="domains")
    assert [task.name for task in loaded.tasks] == ["ink", "oil"]
    assert {task.label_names for task in loaded.tasks} == {CLASSES}
    assert loaded.scenarios == ("task", "domain")
    loaded.require("domain")
    assert {number % 2 for number in (n for _, n in says(loaded)["test"])} == {0, 1}
    assert stream(by_folder, by="domains").fingerprint() == loaded.fingerprint()
    pooled = stream(by_folder, increment=2)  # by classes: of all domains
    assert [[len(split) for _, split in task.splits()] for task in pooled.tasks] == [[14, 2, 4]] * 3


def test_a_class_that_one_domain_lacks(tmp_path: Path) -> None:
    rows = [row for row in EACH if not (row[2] == "oil" and row[0] == 4)]
    pa.parquet.write_table(table(rows), tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet"), "domain": "domain"}
    with pytest.raises(
        DataError, match=r"^stream 'images': class 'elk' has no images in train of domain 'oil'; [^\n]*$"
    ):
        stream(data, by="domains")
    pa.parquet.write_table(
        table([row for row in EACH if row[2] == "ink" or row[3] == "test"]), tmp_path / "some.parquet"
    )
    some = {**data, "train": str(tmp_path / "some.parquet"), "split": "split"}
    with pytest.raises(DataError, match=r"^stream 'images': there are no training images of domain 'oil'; every task"):
        stream(some, by="domains")
    ink, oil = stream(data, by="domains", empty_classes="drop").tasks
    assert ink.label_names == oil.label_names == CLASSES
    assert 4 in ink.train.labels.tolist()  # type: ignore[union-attr]
    assert 4 not in oil.train.labels.tolist()  # type: ignore[union-attr]


# ---------------------------------------------------------------------- what is wrong with data


def test_damaged_images_are_counted_and_named_or_left_out(folder: Path) -> None:
    (folder / "bee" / "3.png").write_bytes(png(1, 3)[:50])
    (folder / "cat" / "notes.txt").write_text("no image")
    with pytest.raises(DataError) as caught:
        stream(folder, increment=2)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("2 of 61 images are damaged: ")
    assert str(folder / "bee" / "3.png") in line
    assert str(folder / "cat" / "notes.txt") in line
    assert line.endswith("; mend them, take them out, or set damaged: skip")
    loaded = stream(folder, increment=2, damaged="skip")
    assert sum(map(len, says(loaded).values())) == 59
    note = loaded.notes["images left out as damaged"]
    assert note.startswith("2 of 61: ")
    assert str(folder / "bee" / "3.png") in note
    assert str(folder / "cat" / "notes.txt") in note


def test_a_damaged_row_is_named_by_its_number(tmp_path: Path) -> None:
    found = table(EACH, struct=True)
    cells = found.column("image").to_pylist()
    cells[4] = {"bytes": None, "path": "4.png"}
    cells[7] = {"bytes": b"x", "path": "7.png"}
    pa.parquet.write_table(found.set_column(0, "image", pa.array(cells)), tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet")}
    with pytest.raises(DataError, match=r"^2 of 60 images are damaged: '.*all.parquet', row 5 has no bytes") as caught:
        stream(data, increment=6, train_per_class=None)
    assert "all.parquet', row 8" in str(caught.value)
    assert sum(map(len, says(stream(data, increment=6, damaged="skip")).values())) == 58


def test_a_bomb_is_refused_even_where_damaged_images_are_skipped(folder: Path) -> None:
    Image.new("1", (3000, 2000)).save(folder / "dog" / "wide.png")
    settings = {"damaged": "skip", "reading": {"max_pixels": 1_000_000}}
    with pytest.raises(DataError, match=r"^[^\n]*wide.png has 3000 × 2000 pixels, and at most 1,000,000 are[^\n]*$"):
        stream(folder, increment=2, **settings)


def test_a_class_without_images(folder: Path) -> None:
    (folder / "gnu").mkdir()
    with pytest.raises(
        DataError, match=r"^stream 'images': class 'gnu' has no images in train; add some, or set empty_"
    ):
        stream(folder, increment=7)
    assert [len(task.label_names) for task in stream(folder, increment=2, empty_classes="drop").tasks] == [2, 2, 2]
    for path in (folder / "fox").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(
        DataError, match=r"^stream 'images': 2 classes have no images in train or none in test: fox, gnu; add"
    ):
        stream(folder, increment=2, damaged="skip")


def test_increments_orders_and_overlap_are_checked_against_the_classes(folder: Path) -> None:
    for settings, says_so in (
        ({"increment": 4}, "increment: 6 classes do not divide into 4 and then 4 a task"),
        ({"increment": 2, "class_order": [0, 1, 2, 3, 4, 4]}, "class_order: 'elk' stands there more than once"),
        ({"increment": 2, "class_order": ["ant", "bee"]}, "class_order: 'cat', 'dog', 'elk', 'fox' is missing"),
        (
            {"increment": 2, "pretrained_on": {"what": "zoos", "overlap": ["dgo"]}},
            "pretrained_on.overlap: stream 'images' has no class 'dgo'; did you mean 'dog'",
        ),
    ):
        with pytest.raises(DataError) as caught:
            stream(folder, **settings)
        assert str(caught.value).startswith(says_so)
        assert "\n" not in str(caught.value)


def test_what_the_backbone_has_seen_is_noted(folder: Path) -> None:
    about = "backbone pretrained on"
    assert stream(folder, increment=2).notes[about] == "not said (stream.pretrained_on)"
    seen = {"what": "zoos", "overlap": ["ant", "dog"]}
    note = stream(folder, increment=2, pretrained_on=seen).notes[about]
    assert note == "zoos; classes that it knows from there: 2 of 6: ant, dog"
    assert stream(folder, increment=2, pretrained_on={"what": "zoos"}).notes[about].endswith(": unknown")


def test_folders_that_are_not_as_expected(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^there is no folder '.*none'"):
        stream(tmp_path / "none")
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match=r"^folder '.*flat' has no folders in it; expected one for each class$"):
        stream(tmp_path / "flat")
    os.mkfifo(folder / "ant" / "pipe.png")
    with pytest.raises(DataError, match=r"^'.*pipe.png' is neither a file nor a folder; take it away$"):
        stream(folder)
    (folder / "ant" / "pipe.png").unlink()
    (tmp_path / "secret.png").write_bytes(png(0, 0))
    (folder / "ant" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match=r"^'.*link.png' is a link out of '.*photos'; put the file itself there$"):
        stream(folder)


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/ant/\xff.png")).write_bytes(png(0, 0))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"^b'.*ant/\\xff.png' has a name that is not UTF-8; rename it$"):
        stream(folder)


def test_columns_that_are_not_as_expected(tmp_path: Path) -> None:
    pa.parquet.write_table(table(EACH), tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet")}
    with pytest.raises(DataError, match=r"has no column 'img'; its columns are: .*image"):
        stream({**data, "image": "img"})
    with pytest.raises(DataError, match=r"column 'split' holds string; expected the bytes of images, or a struct"):
        stream({**data, "image": "split"})  # paths in a table from elsewhere are never opened
    with pytest.raises(DataError, match=r"there is no file or folder"):
        stream({**data, "train": str(tmp_path / "none.parquet")})
    (tmp_path / "x.csv").write_text("image,label\n")
    with pytest.raises(DataError, match=r"x.csv' is no parquet file"):
        stream({**data, "train": str(tmp_path / "x.csv")})


@pytest.mark.parametrize(
    ("change", "says_so"),
    [
        ({"by": "domains"}, "by: domains needs data that say of which domain an image is"),
        (
            {"by": "domains", "data": {"kind": "folder", "root": "p", "domains": True}, "increment": 2},
            "are of by: classes",
        ),
        ({"class_order": "random"}, "stream.class_order: got 'random'; natural or seed was expected, or a list"),
        ({"increment": 1}, "stream.increment: got 1"),
        ({"data": {"kind": "folder", "root": "p", "domain": "x"}}, "stream.data.domain: unknown key"),
        ({"data": {"kind": "zip", "root": "p"}}, "stream.data: "),
        ({"data": {"root": "p"}}, "stream.data: "),
        (
            {"pretrained_on": {"what": "x", "overlap": "some"}},
            "a list of classes was expected, or all, none or unknown",
        ),
        ({"reading": {"ground": [0, 0]}}, "stream.reading.ground"),
        ({"damaged": "ignore"}, "stream.damaged: got 'ignore'"),
    ],
)
def test_a_mistake_in_a_config_is_one_line(change: dict[str, object], says_so: str) -> None:
    values = {"kind": "images", "data": {"kind": "folder", "root": "p"}, **change}
    with pytest.raises(ConfigError) as caught:
        load_config({"problem": {"kind": "image_classification"}, "stream": values})
    (line,) = str(caught.value).splitlines()[-1:]
    assert says_so in str(caught.value)
    assert len(caught.value.problems) == 1, line


# ---------------------------------------------------------------------- real images


@REAL
@pytest.mark.parametrize(
    ("name", "settings", "tasks", "classes", "sizes"),
    [
        ("omniglot_small", {"increment": 22}, 11, 22, (286, 44, 110)),
        ("tinyimagenet100_64_jpeg", {"increment": 10, "class_order": "seed"}, 10, 10, (900, 100, 200)),
        ("emoji_64", {"by": "domains"}, 2, 9, (1351, 149, 406)),
    ],
)
def test_real_images(name: str, settings: dict[str, object], tasks: int, classes: int, sizes: tuple[int, ...]) -> None:
    data = {"kind": "parquet", "train": str(SHARED / name / f"{name}.parquet"), "split": "split"}
    data |= {"label_names": str(SHARED / name / "labels.txt"), "domain": "style" if name == "emoji_64" else None}
    loaded = stream(data, **settings)
    assert [len(task.label_names) for task in loaded.tasks] == [classes] * tasks
    assert {tuple(len(split) for _, split in task.splits()) for task in loaded.tasks} == {sizes}
    if name.startswith("tiny"):
        names = (SHARED / name / "labels.txt").read_text().splitlines()
        assert loaded.tasks[0].label_names[:5] == tuple(names[number] for number in (68, 56, 78, 8, 23))


def test_what_a_run_would_refuse_is_found_before_one(folder: Path) -> None:
    values = {
        "stream": {"kind": "images", "data": {"kind": "folder", "root": str(folder)}},
        "problem": {"kind": "image_classification"},
        "backbone": {"id": "glyph_vit"},
        "scenario": "class",
    }
    validate(load_config(values))
    with pytest.raises(ConfigError, match="stream: increment: 6 classes do not divide"):
        validate(load_config(values, ["stream.increment=4"]))
    with pytest.raises(ConfigError, match="stream: class_order: 'cat' is missing"):
        validate(load_config(values, ["stream.class_order=[ant,bee,dog,elk,fox]"]))
    with pytest.raises(ConfigError, match="has no domain-incremental form"):
        validate(load_config(values, ["scenario=domain"]))
