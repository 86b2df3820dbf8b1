"""Folders."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from plora.errors import DataError
from plora.streams.image_stream import ImageStream
from plora.streams.local import LocalStream
from plora.streams.readers import content_hash, read_source

SYSTEM = [".DS_Store", "a/._1.txt", "a/.DS_Store", "__MACOSX/._a", "__MACOSX/a/._1.txt", "a/Thumbs.db", "b/desktop.ini"]


def touch(root: Path, names: Iterable[str], content: bytes = b"\x00\x05\x16\x07") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def pictures(root: Path, names: Iterable[str]) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(root / name, format="png")


@pytest.mark.odd("`.TXT` and `.txt` in a folder per class", "all are texts; endings are compared without case")
@pytest.mark.odd("`.DS_Store`, `._x`, `__MACOSX`, `Thumbs.db` in a folder", "left out and counted")
@pytest.mark.odd(
    "files beside the folders of the classes, and files that end in something else", "left out and counted"
)
def test_a_folder_of_texts(tmp_path: Path) -> None:
    for name in (f"{c}/{i}.{'TXT' if i % 2 else 'txt'}" for c in "ab" for i in range(8)):
        touch(tmp_path, [name], b"\xef\xbb\xbfsome\r\n" + name.encode())
    before = content_hash(tmp_path)
    touch(tmp_path, SYSTEM)
    assert content_hash(tmp_path) == before
    touch(tmp_path, ["README.md", "a/notes.md", "a/deeper/9.txt"])
    stream = LocalStream.model_validate({"tasks": [{"name": "t", "train": tmp_path}]}).load()
    count = stream.rows["t.train"]
    assert (count.used, stream.tasks[0].label_names) == (16, ("a", "b"))
    # A hidden folder counts once: nobody looks into it.
    assert sorted(count.reasons().values()) == [1, 1, 1, 6]
    assert stream.notes["rows of t.train"].startswith("16 of 25 used; left out: ")
    assert set(read_source(tmp_path, ("text", "label")).table.column("text").to_pylist()) == {
        f"some\n{c}/{i}.{'TXT' if i % 2 else 'txt'}" for c in "ab" for i in range(8)
    }


@pytest.mark.odd("a folder of images that a Mac packed", "what is the system's is left out and counted")
def test_a_folder_of_images(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{split}/{c}/{i}.PNG" for split in ("train", "test") for c in "ab" for i in range(8)])
    touch(
        tmp_path,
        ["__MACOSX/train/a/._1.png", ".DS_Store", "train/a/._1.png", "train/b/deep/.DS_Store", "test/list.csv"],
    )
    stream = ImageStream.model_validate({"data": {"kind": "folder", "root": tmp_path}}).load()
    count = stream.rows["images"]
    assert (count.found, count.used) == (37, 32)
    assert sorted(count.reasons().values()) == [1, 4]
    assert stream.tasks[0].label_names == ("a", "b")


def test_images_that_are_not_used_are_counted(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{c}/{i}.png" for c in "ab" for i in range(20)])
    touch(tmp_path, ["a/broken.png"])
    stream = ImageStream.model_validate(
        {"data": {"kind": "folder", "root": tmp_path}, "damaged": "skip", "train_per_class": 10}
    ).load()
    count = stream.rows["images"]
    assert (count.found, count.used) == (41, sum(len(split) for _, split in stream.tasks[0].splits()))
    assert count.own["damaged"] + count.own["above the caps"] == 41 - count.used


@pytest.mark.odd("a folder of `.PARQUET` files and others", "all parquet files are read, the others are counted")
@pytest.mark.odd("parquet files of images that declare different names", "refused with both files")
def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    def shard(name: str, names: str) -> None:
        pictures(tmp_path / "pictures", [f"{name}-{i}.png" for i in range(12)])
        content = [(tmp_path / "pictures" / f"{name}-{i}.png").read_bytes() for i in range(12)]
        table = pa.table({"image": content, "label": [i % 2 for i in range(12)]})
        feature = f'{{"info": {{"features": {{"label": {{"names": {names}, "_type": "ClassLabel"}}}}}}}}'
        (tmp_path / "shards").mkdir(exist_ok=True)
        pq.write_table(table.replace_schema_metadata({"huggingface": feature}), tmp_path / "shards" / name)

    shard("0.parquet", '["a", "b"]')
    shard("1.PARQUET", '["a", "b"]')
    touch(tmp_path / "shards", ["._0.parquet", "README.md"])
    data = {"kind": "parquet", "train": tmp_path / "shards"}
    stream = ImageStream.model_validate({"data": data}).load()
    assert (stream.rows["images"].found, stream.rows["images"].used) == (26, 24)
    shard("2.parquet", '["b", "a"]')
    with pytest.raises(DataError, match=r"0.parquet' and '.*2.parquet' declare different names .*\(a, b; b, a\)"):
        ImageStream.model_validate({"data": data}).load()


@pytest.mark.odd("a text file of a folder that is UTF-16 or Latin-1", "refused with its name")
def test_files_of_another_encoding(tmp_path: Path) -> None:
    touch(tmp_path, ["a/1.txt"], "some text".encode("utf-16"))
    with pytest.raises(DataError, match=r"a/1\.txt' is UTF-16, not UTF-8"):
        read_source(tmp_path, ("text", "label"))
    touch(tmp_path, ["a/1.txt"], "café".encode("latin-1"))
    with pytest.raises(DataError, match=r"a/1\.txt' is not UTF-8 text \(byte 0xe9 at place 4\)"):
        read_source(tmp_path, ("text", "label"))


@pytest.mark.odd(
    "a folder of images whose folders are `training` and `test`, or `Train` and `Test`",
    "refused; they would be classes",
)
def test_folders_that_look_like_splits(tmp_path: Path) -> None:
    for first, second in (("training", "test"), ("Train", "Test"), ("val", "test")):
        root = tmp_path / f"{first}-{second}"
        pictures(
            root, [f"{split}/{label}/{number}.png" for split in (first, second) for label in "ab" for number in "123"]
        )
        with pytest.raises(
            DataError, match="which look like splits and would be classes; call them train, validation, test"
        ):
            ImageStream.model_validate({"data": {"kind": "folder", "root": str(root)}}).load()
