import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plora.errors import DataError
from plora.streams.readers import content_hash, read_source

COLUMNS = ("text", "label")


def read(path: Path) -> dict[str, list[object]]:
    table: dict[str, list[object]] = read_source(path, COLUMNS).table.to_pydict()
    return table


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text('text,label,other\n"two\nlines, one text",p,1\n007,q,2\n,p,3\n', encoding="utf-8")
    assert read(path)["text"] == ["two\nlines, one text", "007", ""]
    assert read(path)["label"] == ["p", "q", "p"]


def test_tsv(tmp_path: Path) -> None:
    path = tmp_path / "data.TSV"
    path.write_text("text\tlabel\na, b\tp\n")
    assert read(path) == {"text": ["a, b"], "label": ["p"]}


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "é", "label": 1, "more": {}}\n\n{"label": 2.0, "text": null}\n', encoding="utf-8")
    table = read(path)
    assert (table["text"], table["label"]) == (["é", None], ["1", "2"])


def test_parquet_reads_only_what_is_used(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"text": ["a"], "label": [3], "big": ["z"]}), path)
    assert read(path) == {"text": ["a"], "label": [3]}


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name, text in (
        ("dogs/1.txt", "wow"),
        ("cats/2.txt", "mew"),
        ("cats/1.txt", "purr"),
        ("cats/notes.md", "x"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read(tmp_path) == {"text": ["purr", "mew", "wow"], "label": ["cats", "cats", "dogs"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"x", "ends in '.xlsx', which is not read; give .csv, .tsv, .jsonl, .parquet"),
        ("a.csv", b"", "is empty; the first line of a CSV file names its columns"),
        (
            "a.csv",
            b"text,label\na,b\nc\n",
            r"row 2 \(line 3\) has 1 field, and the first line names 2 columns",
        ),
        ("a.csv", b"text,label\n\xff\xfe,b\n", "(?i)utf-?8.*save it as UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2, is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1, holds list; expected an object"),
        ("a.jsonl", b'{"text": ["a"]}\n', "line 1: 'text' holds list; expected text or a number"),
        ("a.jsonl", b'{"text": "\xff"}\n', "is not UTF-8 text"),
        ("a.jsonl", b'{"text": "a", "label": NaN}\n', "line 1, is not JSON .NaN is no JSON number; null is a missing"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"line 1: 'text' has \\ud800, which is half a character; cut it off"),
        ("a.csv", b"text,label,text\na,b,c\n", "has several columns named 'text'; keep one, or rename the others"),
        ("a.parquet", b"no parquet", "cannot be read: .*is it complete"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"no file or folder '.*trian.csv'; did you mean 'train.csv'\?"):
        read(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="there is no file or folder"):
        read(tmp_path / "nowhere" / "train.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no '<class>/\*.txt'"):
        read(tmp_path / "empty")


def test_a_text_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"1.txt' is not UTF-8"):
        read(tmp_path)


def test_content_hash(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    before = content_hash(tmp_path)
    assert len(content_hash(tmp_path / "a.csv")) == 64
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    assert content_hash(tmp_path) != before


def test_links_stay_in_their_folder(tmp_path: Path) -> None:
    data, outside = tmp_path / "data", tmp_path / "outside"
    for name in ("data/cats/1.txt", "data/cats/2.txt", "outside/secret.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (data / "dogs").symlink_to(data / "cats")
    (data / "cats" / "3.txt").symlink_to(data / "cats" / "1.txt")
    (tmp_path / "link").symlink_to(data)
    assert read(tmp_path / "link")["label"] == ["cats"] * 3 + ["dogs"] * 3
    for link, target in ((data / "cows", outside), (data / "cats" / "4.txt", outside / "secret.txt")):
        link.symlink_to(target)
        with pytest.raises(DataError, match=r"(cows|cats/4\.txt)' is a link out of '.*data'; put the file itself"):
            read(data)
        link.unlink()
    (data / "cats" / "5.txt").symlink_to(data / "nowhere.txt")
    with pytest.raises(DataError, match=r"5\.txt' is not a file"):
        read(data)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    for name in ("cats", ".checkpoints"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text("\ufeffpurr")
    assert read(tmp_path) == {"text": ["purr"], "label": ["cats"]}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv' is neither a file nor a folder"):
        read(tmp_path / "a.csv")
    (tmp_path / "cats").mkdir()
    os.mkfifo(tmp_path / "cats" / "1.txt")
    with pytest.raises(DataError, match=r"1\.txt' is not a file"):
        read(tmp_path)
