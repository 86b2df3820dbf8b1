"""Streams of images with masks: folders, layouts of known sets, tables; what ids mean; and what is refused."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from pydantic import ValidationError

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams import IGNORED, LabelledImage, LabelledImages, SegmentationStream, Stream
from plora.streams.class_map import MapClasses
from plora.streams.stored_pairs import StoredPairs
from plora.streams.street_classes import CAMVID_COLOURS, CITYSCAPES

CAMVID = Path(__file__).parents[3] / "shared" / "data" / "segmentation" / "camvid"
REAL = pytest.mark.skipif(not CAMVID.is_dir(), reason="the shared data sets are not here")
CLASSES = {"ground": 0, "tree": [1, 2]}


def png(pixels: np.ndarray, mode: str | None = None, kind: str = "PNG", **saving: object) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette(range(255, -1, -1))
    image.save(stream, kind, **saving)
    return stream.getvalue()


def pixels(number: int) -> np.ndarray:
    """An image of 4 × 6 pixels that says its number."""
    return np.full((4, 6, 3), number, np.uint8)


def mask(number: int) -> np.ndarray:
    """Ids 0, 1 and 2, and the number of the first row in how they begin."""
    found = np.zeros((4, 6), np.uint8)
    found[1:, :3], found[3] = 1, 2
    found[0, 0] = IGNORED if number % 2 else 0
    return found


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_pairs(root: Path, names: list[str], of_mask: Callable[[int], bytes] | None = None) -> Path:
    for number, name in enumerate(names):
        write(root / "images" / f"{name}.png", png(pixels(number)))
        write(root / "masks" / f"{name}.png", png(mask(number)) if of_mask is None else of_mask(number))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten pairs, of two sequences."""
    return write_pairs(tmp_path / "set", [f"{'ab'[number % 2]}_{number}" for number in range(10)])


def folders(root: Path, **more: object) -> dict[str, object]:
    train = {"images": str(root / "images"), "masks": str(root / "masks")}
    return {"kind": "folders", "train": train, "classes": CLASSES, **more}


def stream(data: Mapping[str, object], **settings: object) -> Stream:
    return SegmentationStream.model_validate({"data": data, **settings}).load()


def every(split: object) -> list[LabelledImage]:
    assert isinstance(split, LabelledImages)
    return list(split.read(np.arange(len(split))))


def refused(data: Mapping[str, object], **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        stream(data, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------- pairs


def test_images_and_masks_of_the_same_name_belong_together(root: Path) -> None:
    loaded = stream(folders(root))
    (task,) = loaded.tasks
    assert task.label_names == ()
    assert [len(split) for _, split in task.splits()] == [7, 1, 2]
    seen = set()
    for _, split in task.splits():
        assert isinstance(split, StoredPairs)
        assert split.class_names == ("ground", "tree")
        assert split.slow
        for place, one in enumerate(every(split)):
            number = int(one.image[0, 0, 0])
            seen.add(number)
            assert split.name(place).endswith(f"_{number}.png")
            expected = np.where(mask(number) == 2, 1, mask(number))
            assert np.array_equal(one.classes, expected)
            assert one.outlier is None
    assert seen == set(range(10))
    assert loaded.rows["pairs"].found == loaded.rows["pairs"].used == 10
    loaded.require("domain")
    assert task.test_duplicates() == 0


def test_splits_depend_on_the_images_and_the_seed_alone(root: Path, tmp_path: Path) -> None:
    def tested(loaded: Stream) -> set[int]:
        return {int(one.image[0, 0, 0]) for one in every(loaded.tasks[0].test)}

    first = stream(folders(root))
    renamed = tmp_path / "renamed"
    for number in range(10):
        write(renamed / "images" / f"{9 - number}.png", png(pixels(number)))
        write(renamed / "masks" / f"{9 - number}.png", png(mask(number)))
    assert tested(stream(folders(renamed))) == tested(first)
    assert {frozenset(tested(stream(folders(root), split_seed=seed))) for seed in range(4)} != {
        frozenset(tested(first))
    }
    assert stream(folders(root)).fingerprint() == first.fingerprint()
    others = [
        stream(folders(root, classes={"ground": 0, "tree": 1, "bush": 2})),
        stream(folders(root, ignore=[255, 3])),
        stream(folders(root), reading={"ground": [0, 0, 0]}),
    ]
    write(root / "masks" / "a_0.png", png(mask(1)))
    prints = {first.fingerprint(), *(other.fingerprint() for other in others), stream(folders(root)).fingerprint()}
    assert len(prints) == 5


def test_given_splits_are_taken_as_they_are(root: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "other", ["x", "y", "z"])
    test = {"images": str(other / "images"), "masks": str(other / "masks")}
    (task,) = stream(folders(root, test=test)).tasks
    assert [len(split) for _, split in task.splits()] == [9, 1, 3]


@pytest.mark.parametrize("domains", ["folder", "sequence"])
def test_domains_by_folder_and_by_sequence(tmp_path: Path, domains: str) -> None:
    between = "/" if domains == "folder" else "_"
    root = write_pairs(tmp_path, [f"{'ab'[number % 2]}{between}{number}" for number in range(10)])
    loaded = stream(folders(root, domains=domains))
    assert [task.name for task in loaded.tasks] == ["a", "b"]
    for number, task in enumerate(loaded.tasks):
        found = [int(one.image[0, 0, 0]) for _, split in task.splits() for one in every(split)]
        assert sorted(found) == list(range(number, 10, 2))
    (root / "images" / "c.png").write_bytes(png(pixels(0)))
    (root / "masks" / "c.png").write_bytes(png(mask(0)))
    assert refused(folders(root, domains=domains)).startswith(f"domains: {domains}, and the ")


def test_classes_in_steps_are_of_the_images_of_all_domains(root: Path) -> None:
    data = folders(root, domains="sequence", classes={"tree": 1, "ground": 0, "bush": 2})
    loaded = stream(data, increment=1, background="ground", test_fraction=0.4)
    assert [task.label_names for task in loaded.tasks] == [("ground", "tree"), ("bush",)]
    loaded.require("class")
    assert loaded.notes["class steps"] == "overlapped: ground, tree | bush"
    first, second = loaded.tasks
    assert first.train.identities() == second.train.identities()  # every image shows both
    for one, other in zip(every(first.train), every(second.train), strict=True):
        number = int(one.image[0, 0, 0])
        own = mask(number)
        assert np.array_equal(one.classes, np.where(own == 2, 0, own))
        assert np.array_equal(other.classes, np.where(own == 1, 0, own))
    tested = [[int(one.image[0, 0, 0]) for one in every(task.test)] for task in loaded.tasks]
    assert len(tested[0]) == len(tested[1]) == 2
    assert not set(tested[0]) & set(tested[1])
    assert {number % 2 for number in (*tested[0], *tested[1])} == {0, 1}  # of both sequences
    outliers = {"kind": "road_anomaly", "root": str(root)}
    with pytest.raises(ValidationError, match="leave anomalies or increment out"):
        stream(data, increment=1, anomalies=outliers)


@pytest.mark.parametrize("struct", [True, False], ids=["the hub's struct", "plain bytes"])
def test_parquet_with_columns_of_images_masks_domains_and_splits(tmp_path: Path, struct: bool) -> None:
    def cells(images: list[bytes]) -> pa.Array:
        return pa.array([{"bytes": image, "path": None} for image in images] if struct else images)

    table = pa.table(
        {
            "photo": cells([png(pixels(number)) for number in range(12)]),
            "mask": cells([png(mask(number)) for number in range(12)]),
            "place": pa.array(["sea", "hill"] * 6),
            "for": pa.array(["train"] * 10 + ["test"] * 2),
        }
    )
    pa.parquet.write_table(table, tmp_path / "all.parquet")
    data = {"kind": "parquet", "train": str(tmp_path / "all.parquet"), "image": "photo", "classes": CLASSES}
    loaded = stream({**data, "domain": "place", "split": "for"})
    assert [task.name for task in loaded.tasks] == ["hill", "sea"]
    assert [[len(split) for _, split in task.splits()] for task in loaded.tasks] == [[4, 1, 1]] * 2
    assert {int(one.image[0, 0, 0]) for task in loaded.tasks for one in every(task.test)} == {10, 11}
    assert "has no column 'masks'" in refused({**data, "mask": "masks"})
    assert "given twice" in refused({**data, "split": "for", "test": str(tmp_path / "all.parquet")})


def test_a_copy_of_a_data_set_of_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    names = ("image", "mask")
    columns = [[{"bytes": png(of(number)), "path": None} for number in range(6)] for of in (pixels, mask)]
    folder = tmp_path / "me" / "scenes"
    folder.mkdir(parents=True)
    pa.parquet.write_table(pa.table(dict(zip(names, map(pa.array, columns), strict=True))), folder / "train.parquet")
    data = {"kind": "hub", "id": "me/scenes", "root": str(tmp_path), "cache": str(tmp_path / "cache"), "test": None}
    (task,) = stream({**data, "classes": CLASSES}).tasks
    assert sum(len(split) for _, split in task.splits()) == 6
    assert np.array_equal(every(task.test)[0].classes[1:], np.where(mask(0) == 2, 1, mask(0))[1:])


# ---------------------------------------------------------------------- layouts


def test_the_layout_of_cityscapes(tmp_path: Path) -> None:
    ids = np.full((4, 6), 7, np.uint8)  # road
    ids[0], ids[1], ids[2, 0] = 0, 33, 10  # unlabelled, bicycle, rail track
    for split, city, number in (
        *(("train", city, number) for city in ("aachen", "bremen") for number in range(4)),
        *(("val", "ulm", number) for number in range(3)),
    ):
        stem = f"{city}/{city}_000000_00000{number}"
        content = png(pixels({"aachen": 0, "bremen": 50, "ulm": 100}[city] + number))
        write(tmp_path / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", content)
        write(tmp_path / "gtFine" / split / f"{stem}_gtFine_labelIds.png", png(ids))
        write(tmp_path / "gtFine" / split / f"{stem}_gtFine_color.png", png(pixels(number)))
        write(tmp_path / "gtFine" / split / f"{stem}_gtFine_polygons.json", b"{}")
    data = {"kind": "cityscapes", "root": str(tmp_path)}
    loaded = stream(data)
    (task,) = loaded.tasks
    assert [len(split) for _, split in task.splits()] == [7, 1, 3]
    assert isinstance(task.test, LabelledImages)
    assert len(task.test.class_names) == 19
    assert [task.test.class_names[number] for number in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
    one = every(task.test)[0]
    assert np.unique(one.classes).tolist() == [0, 18, 255]
    assert (one.classes == IGNORED).sum() == 7
    assert loaded.rows["pairs"].left_out["files with other endings"] == 22
    assert "classes without a pixel in train of segmentation" in loaded.notes
    cities = stream({**data, "domains": "folder", "cut": True, "test": "val"}, test_fraction=0.3)
    assert [task.name for task in cities.tasks] == ["aachen", "bremen", "ulm"]
    said = refused({**data, "domains": "folder"})
    assert said.startswith("stream 'segmentation': there are no training images of domain 'ulm'")
    assert said.endswith("cut: true puts all images together")


def test_the_official_ids_of_cityscapes() -> None:
    train_ids = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    train_ids |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    found = CITYSCAPES.meant(np.arange(34, dtype=np.uint8)[None])
    assert found.classes[0].tolist() == [train_ids.get(number, IGNORED) for number in range(34)]
    assert CITYSCAPES.meant(np.array([[34, 255]], np.uint8)).unknown == {34: 1}


def test_camvid_as_it_was_published(tmp_path: Path) -> None:
    colours = np.zeros((4, 6, 3), np.uint8)  # Void
    colours[1], colours[2], colours[3] = (128, 0, 192), (64, 128, 192), (192, 192, 0)
    for number in range(6):
        write(tmp_path / "701_StillsRaw_full" / f"0001TP_{number}.png", png(pixels(number)))
        write(tmp_path / "LabeledApproved_full" / f"0001TP_{number}_L.png", png(colours))
    data = {"kind": "camvid", "root": str(tmp_path)}
    (task,) = stream(data).tasks
    (one, *_) = every(task.train)
    assert isinstance(task.train, LabelledImages)
    names = task.train.class_names
    assert len(names) == 11
    assert [names[number] for number in one.classes[1:, 0]] == ["Road", "Car", "Tree"]
    assert (one.classes[0] == IGNORED).all()
    (task,) = stream({**data, "classes": 32}).tasks
    (one, *_) = every(task.train)
    names = task.train.class_names  # type: ignore[attr-defined]
    assert [names[number] for number in one.classes[1:, 0]] == ["LaneMkgsDriv", "SUVPickupTruck", "VegetationMisc"]
    assert len({one for ids in CAMVID_COLOURS[32].ids for one in ids}) == 31
    assert sorted(one for ids in CAMVID_COLOURS[11].ids for one in ids) == sorted(
        one for ids in CAMVID_COLOURS[32].ids for one in ids
    )
    assert "neither a folder 'trainannot' nor 'LabeledApproved_full'" in refused(
        {"kind": "camvid", "root": str(tmp_path / "none")}
    )


@REAL
def test_camvid_as_papers_use_it() -> None:
    (task,) = stream({"kind": "camvid", "root": str(CAMVID)}).tasks
    assert [len(split) for _, split in task.splits()] == [190, 40, 70]
    lines = [line.split(",") for line in (CAMVID / "index.csv").read_text().splitlines()]
    (row,) = [row for row in lines if row[:2] == ["train", "0001TP_006690.png"]]
    (one,) = task.train.read(np.zeros(1, np.int64))
    assert isinstance(one, LabelledImage)
    assert np.bincount(one.classes.ravel(), minlength=256)[:11].tolist() == list(map(int, row[3:14]))
    assert (one.classes == IGNORED).sum() == int(row[14])
    said = refused({"kind": "camvid", "root": str(CAMVID), "domains": "sequence"})
    assert "no training images of domain 'Seq05VD'" in said
    assert "hold ids of 11 classes" in refused({"kind": "camvid", "root": str(CAMVID), "classes": 32})


@pytest.mark.parametrize("layout", ["as published", "the benchmark"])
def test_outliers_stand_in_the_test_of_every_task(root: Path, tmp_path: Path, layout: str) -> None:
    ids = np.zeros((4, 6), np.uint8)
    ids[0], ids[1] = (2 if layout == "as published" else 1), IGNORED
    place = tmp_path / "anomalies"
    if layout == "as published":
        write(place / "frames" / "cow.png", png(pixels(77)))
        write(place / "frames" / "cow.labels" / "labels_semantic.png", png(ids))
        write(place / "frames" / "cow.labels" / "labels_semantic_color.png", png(pixels(0)))
    else:
        write(place / "images" / "cow.png", png(pixels(77)))
        write(place / "labels_masks" / "cow_labels_semantic.png", png(ids))
    anomalies = {"kind": "road_anomaly", "root": str(place)}
    loaded = stream(folders(root, domains="sequence"), anomalies=anomalies)
    for task in loaded.tasks:
        *plain, cow = every(task.test)
        assert [one.outlier for one in plain] == [None] * len(plain)
        assert cow.outlier is not None
        assert (cow.classes == IGNORED).all()
        assert cow.outlier.sum() == 6
        assert cow.inliers().sum() == 12
        assert not (cow.inliers() & (cow.outlier | (ids == IGNORED))).any()
        assert task.test.class_names == ("ground", "tree")  # type: ignore[attr-defined]
        assert task.test.name(len(task.test) - 1).endswith("cow.png")  # type: ignore[attr-defined]
        assert task.test_duplicates() == 0
    assert loaded.fingerprint() != stream(folders(root, domains="sequence")).fingerprint()
    (place / ("frames" if layout == "as published" else "images") / "dog.png").write_bytes(png(pixels(1)))
    assert refused(folders(root), anomalies=anomalies).startswith("anomalies: 1 of 2 cannot be used: ")
    assert stream(folders(root), anomalies=anomalies, unusable="skip").rows["anomalies"].used == 1


def test_an_id_of_outliers_in_masks_of_classes(root: Path) -> None:
    found = mask(0)
    found[0, :2] = 254
    for number in range(10):
        write(root / "masks" / f"{'ab'[number % 2]}_{number}.png", png(found))
    (task,) = stream(folders(root, outlier=[254])).tasks
    (one, *_) = every(task.train)
    assert one.outlier is not None
    assert np.array_equal(one.outlier, found == 254)
    assert np.array_equal(one.inliers(), found != 254)
    assert (one.classes[one.outlier] == IGNORED).all()


# ---------------------------------------------------------------------- what masks hold


@pytest.mark.parametrize("kind", ["palette", "grey", "16 bits", "4 bits", "tiff of 32 bits"])
def test_masks_hold_ids_whatever_they_look_like(tmp_path: Path, kind: str) -> None:
    def content(number: int) -> bytes:
        ids = np.array([[0, 1, 2, 15]] * 3, np.uint8)
        if kind == "16 bits":
            return png(ids.astype(np.uint16) * 4000)
        if kind == "4 bits":
            return narrow_png(ids)
        if kind == "tiff of 32 bits":
            return png(ids.astype(np.int32), kind="TIFF")
        return png(ids, "P" if kind == "palette" else None)

    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", png(np.full((3, 4), number, np.uint8)))
        write(tmp_path / "masks" / f"{number}.png", content(number))
    times = 4000 if kind == "16 bits" else 1
    classes = {"one": 0, "two": 1 * times, "three": [2 * times, 15 * times]}
    (task,) = stream(folders(tmp_path, classes=classes, ignore="others")).tasks
    for one in every(task.train):
        assert one.image.ndim == 2
        assert one.classes.tolist() == [[0, 1, 2, 2]] * 3


def narrow_png(ids: np.ndarray) -> bytes:
    """A grey PNG of 4 bits a pixel, which Pillow does not write."""
    rows = b"".join(b"\0" + bytes((row[at] << 4 | row[at + 1]) for at in range(0, len(row), 2)) for row in ids)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], 4, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def test_colours_are_read_only_where_they_are_declared(root: Path) -> None:
    coloured = np.zeros((4, 6, 3), np.uint8)
    coloured[1:] = (128, 64, 128)
    coloured[3] = (1, 2, 3)
    for number in range(10):
        write(root / "masks" / f"{'ab'[number % 2]}_{number}.png", png(coloured))
    assert "is of mode RGB, and a mask of ids is a palette or grey image" in refused(folders(root))
    data = {key: value for key, value in folders(root).items() if key != "classes"}
    colours = {"road": [128, 64, 128], "tree": [[0, 9, 0], [1, 2, 3]]}
    (task,) = stream({**data, "colours": colours, "ignore": [[0, 0, 0]]}).tasks
    assert every(task.train)[0].classes[:, 0].tolist() == [IGNORED, 0, 0, 1]
    said = refused({**data, "colours": {"road": [128, 64, 128], "tree": [0, 9, 0]}})
    assert "masks have 2 colours that are of no class" in said
    assert "[0, 0, 0]: 60 pixels, such as in " in said
    assert "[1, 2, 3]: 60 pixels" in said
    write(root / "masks" / "a_0.png", png(mask(0)))
    assert "a_0.png is of mode L, and colours are declared" in refused({**data, "colours": colours})


def test_image_and_mask_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    ids = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
    image = np.repeat(ids[..., None] * 10, 3, axis=2)
    for number in range(4):
        image[0, 0] = number * 30
        write(tmp_path / "images" / f"{number}.png", png(image, exif=exif))
        write(tmp_path / "masks" / f"{number}.png", png(ids, exif=exif))
    (task,) = stream(folders(tmp_path, classes=["a", "b", "c"])).tasks
    (one, *_) = every(task.train)
    assert one.classes.shape == (6, 4)
    assert np.array_equal(one.classes[1:] * 10, one.image[1:, :, 0])
    write(tmp_path / "masks" / "0.png", png(ids))
    said = refused(folders(tmp_path, classes=["a", "b", "c"]))
    assert said.startswith("pairs: 1 of 4 cannot be used: ")
    assert "has 4 × 6 pixels, and its mask " in said
    assert "has 6 × 4; one of the two is turned by its EXIF" in said


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (["ground", "tree", "sky"], ("ground", "tree", "sky")),
        ({0: "ground", 1: "tree", 2: "tree"}, ("ground", "tree")),
        ({"tree": [2, 1], "ground": 0}, ("tree", "ground")),
    ],
)
def test_classes_in_three_forms(root: Path, classes: object, names: tuple[str, ...]) -> None:
    (task,) = stream(folders(root, classes=classes)).tasks
    assert task.train.class_names == names  # type: ignore[attr-defined]
    kept = MapClasses.model_validate({"classes": classes})
    assert MapClasses.model_validate(kept.model_dump(mode="json", exclude_none=True)) == kept


# ---------------------------------------------------------------------- what is refused


def test_unknown_ids_are_listed_with_their_pixels_and_a_file(root: Path) -> None:
    odd = mask(0)
    odd[0, 1:4], odd[0, 4] = 7, 40
    for name in ("a_4", "b_7"):
        write(root / "masks" / f"{name}.png", png(odd))
    said = refused(folders(root))
    assert said.startswith("stream 'segmentation': masks have 2 ids that are of no class and not ignored (7: 6 pixels")
    assert "; 40: 2 pixels, such as in " in said
    assert any(f"{name}.png" in said for name in ("a_4", "b_7"))
    assert stream(folders(root, ignore=[255, 7, 40])).rows["pairs"].used == 10
    assert stream(folders(root, ignore="others")).rows["pairs"].used == 10
    assert "255: 4 pixels" in refused(folders(root, ignore=[7, 40]))  # given, it takes the place of the default


def test_missing_partners_sizes_and_damage_are_counted_and_named(root: Path) -> None:
    (root / "masks" / "a_0.png").unlink()
    (root / "images" / "b_1.png").unlink()
    write(root / "masks" / "a_2.png", png(np.zeros((4, 5), np.uint8)))
    write(root / "images" / "b_3.png", png(pixels(3))[:45])
    (root / "images" / ".DS_Store").write_bytes(b"")
    said = refused(folders(root))
    assert said.startswith("pairs: 4 of 10 cannot be used: ")
    for part in (
        f"{root / 'images' / 'a_0.png'} has no mask",
        f"{root / 'masks' / 'b_1.png'} has no image",
        "a_2.png has 6 × 4 pixels, and its mask",
        "b_3.png cannot be read as an image",
    ):
        assert part in said
    assert said.endswith("; mend them, take them out, or set unusable: skip")
    loaded = stream(folders(root), unusable="skip")
    count = loaded.rows["pairs"]
    assert (count.found, count.used) == (11, 6)
    assert count.reasons() == {
        "hidden, or of the system (.DS_Store, ._*, __MACOSX, Thumbs.db)": 1,
        "without a partner": 2,
        "damaged, or of two sizes": 2,
    }
    assert loaded.notes["pairs left out as unusable"].startswith("4: ")


def test_a_set_whose_masks_are_hidden(root: Path, tmp_path: Path) -> None:
    hidden = write_pairs(tmp_path / "hidden", ["x", "y"], lambda number: png(np.full((4, 6), IGNORED, np.uint8)))
    test = {"images": str(hidden / "images"), "masks": str(hidden / "masks")}
    said = refused(folders(root, test=test))
    assert said.startswith("task 'segmentation': every pixel of the 2 test masks is ignored; ")
    assert said.endswith("name images whose masks are known")


def test_images_of_which_no_pixel_counts_are_left_out(root: Path) -> None:
    write(root / "masks" / "a_0.png", png(np.full((4, 6), IGNORED, np.uint8)))
    loaded = stream(folders(root))
    assert sum(len(split) for _, split in loaded.tasks[0].splits()) == 9
    assert loaded.notes["rows of pairs"] == "9 of 10 used; left out: of which every pixel is ignored: 1"


def test_masks_that_hold_no_ids(root: Path) -> None:
    write(root / "masks" / "a_0.png", png(mask(0), kind="JPEG"))
    assert "a_0.png is a JPEG, which changes ids at every edge" in refused(folders(root))
    write(root / "masks" / "a_0.png", png(mask(0).astype(np.float32), kind="TIFF"))
    assert "a_0.png is of mode F" in refused(folders(root))
    write(root / "masks" / "a_0.png", png(mask(0)))
    assert "at most 20 are decoded" in refused(folders(root), reading={"max_pixels": 20})
    write(root / "images" / "a_0.jpg", png(pixels(0), kind="JPEG"))
    assert "have one name, and nobody says which is meant" in refused(folders(root))


def test_a_mask_that_changes_after_it_was_checked(root: Path) -> None:
    (task,) = stream(folders(root)).tasks
    for number in range(10):
        write(root / "masks" / f"{'ab'[number % 2]}_{number}.png", png(np.full((4, 6), 9, np.uint8)))
    with pytest.raises(DataError, match=r"has the id 9, which it had not when it was checked"):
        every(task.train)


def test_folders_that_are_not_there(root: Path, tmp_path: Path) -> None:
    assert refused(folders(tmp_path / "none")).startswith("there is no folder '")
    (root / "empty" / "images").mkdir(parents=True)
    (root / "empty" / "masks").mkdir()
    assert "there are no images with masks" in refused(folders(root / "empty"))


@pytest.mark.parametrize(
    ("keys", "says_so"),
    [
        ({}, "classes or colours was expected, one of the two"),
        ({"classes": {"a": 0, "b": 1}, "colours": {"a": [0, 0, 0], "b": [1, 1, 1]}}, "one of the two"),
        ({"classes": {"a": 0, "b": 3}}, "the ids of the classes have gaps: 1, 2 have no name"),
        ({"classes": {0: "a", 2: "b"}}, "the ids of the classes have gaps: 1 have no name"),
        ({"classes": {"a": 0, "b": 0}}, "0 stands there more than once"),
        ({"classes": {"a": 0, "b": 1}, "ignore": [1]}, "1 stands there more than once"),
        ({"classes": {"a": 254, "b": 255}}, "255 stands there more than once"),
        ({"classes": {"a": 0, "b": []}}, "class 'b' has no id"),
        ({"classes": ["a"]}, "2 to 252 classes were expected, got 1"),
        ({"classes": ["a", "a"]}, "a name stands there twice"),
        ({"classes": {"a": 0, "b": 70000}}, "less than 65536"),
        ({"classes": {"a": 0, "b": 1}, "ignore": [[1, 2, 3]]}, "ids were expected"),
        ({"colours": {"a": [0, 0, 0], "b": [1, 1, 1]}, "ignore": [255]}, "colours [red, green, blue] were expected"),
    ],
)
def test_a_class_map_that_is_none(keys: dict[str, object], says_so: str) -> None:
    values = {"kind": "segmentation", "data": {"kind": "folders", "train": {"images": "i", "masks": "m"}, **keys}}
    with pytest.raises(ConfigError) as caught:
        load_config({"stream": values})
    assert says_so in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("keys", "says_so"),
    [
        ({"inlier": [0, 1]}, "1 stands there more than once"),
        ({"outlier": []}, "no id is one of outliers"),
    ],
)
def test_ids_of_anomalies_that_contradict_each_other(keys: dict[str, object], says_so: str) -> None:
    anomalies = {"kind": "road_anomaly", "root": "r", **keys}
    data = {"kind": "camvid", "root": "c"}
    with pytest.raises(ConfigError) as caught:
        load_config({"stream": {"kind": "segmentation", "data": data, "anomalies": anomalies}})
    assert says_so in str(caught.value)
    assert len(caught.value.problems) == 1
