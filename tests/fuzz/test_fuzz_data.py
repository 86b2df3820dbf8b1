"""Data files as they come: a stream, or one clear line; never a traceback."""

import datetime
import decimal
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import HOSTILE_TEXT, damaged, only_clear_lines
from hypothesis import example, given, reject
from hypothesis import strategies as st

from plora.config import load_config
from plora.errors import DataError
from plora.streams.base import Stream
from plora.streams.readers import read_source

CELLS = st.one_of(
    st.sampled_from(["a", "b", "some words", "1", "2", "-1", "0", "01", "1.0", "true", "٣"]), HOSTILE_TEXT
)
NAMES = st.sampled_from(["text", "label", "label", "text", "Text", "", "other", " label", "ünï", "\ufefftext"])

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["text", ["text", "other"], "", "label", ["text", "label"]]),
        "join": st.sampled_from([" ", ""]),
        "label": st.sampled_from(["label", "text", "other"]),
        "label_names": st.sampled_from([["a", "b"], ["0", "1", "2"], ["a"], [], ["a", "a"], "no-such-file", "a\0b"]),
        "map": st.sampled_from([{"a": "x", "b": "y"}, {0: "x", 1: None}, {}, {"a": None}]),
    },
)
CAPS = st.fixed_dictionaries(
    {},
    optional={
        "train_per_class": st.integers(1, 3),
        "test_per_class": st.just(1),
        "distinct_labels": st.booleans(),
        "test_fraction": st.sampled_from([0.01, 0.99]),
        "validation_fraction": st.sampled_from([0.01, 0.99]),
    },
)


def load(files: dict[str, bytes], settings: dict[str, Any], caps: dict[str, Any]) -> None:
    """Write one file, or a folder, and load it as a stream; `files` go from relative path to content."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        train = Path(folder) / min(files, key=lambda name: name.count("/")).split("/")[0]
        with only_clear_lines():
            source = load_config(
                {"stream": {"kind": "local", "tasks": [{"name": "t", "train": str(train), **settings}], **caps}}
            ).stream
            stream = source.load()
            assert isinstance(stream, Stream)
            assert stream.fingerprint() == source.load().fingerprint()


def either_way(content: bytes) -> st.SearchStrategy[bytes]:
    """The content as it is, damaged, or with other marks at its start."""
    marks = st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\n"])
    return st.just(content) | st.just(content) | damaged(content) | marks.map(lambda mark: mark + content)


# ---------------------------------------------------------------------- CSV


def quoted(cell: str, delimiter: str) -> str:
    doubled = cell.encode("utf-8", "replace").decode().replace('"', '""')
    return f'"{doubled}"' if any(c in cell for c in f'{delimiter}\n\r"') else doubled


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, bytes]:
    ending = draw(st.sampled_from([".csv", ".tsv", ".CSV"]))
    delimiter = "\t" if ending == ".tsv" else ","
    names = draw(st.just(["text", "label"]) | st.lists(NAMES, max_size=4))
    ragged = draw(st.booleans()) and draw(st.booleans())
    width = st.integers(0, 5) if ragged else st.just(len(names))
    rows = [[draw(CELLS) for _ in range(draw(width))] for _ in range(draw(st.integers(0, 12)))]
    lines = [delimiter.join(quoted(cell, delimiter) for cell in row) for row in [names, *rows]]
    return ending, draw(either_way(draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines).encode("utf-8", "replace")))


@given(tables(), SETTINGS, CAPS)
@example((".csv", b"text,label\n" + b"x" * 3_000_000 + b",a\ny,b\nz,a\nu,b\nv,a\nw,b\n"), {}, {})
@example((".csv", b"text,text,label\na,b,c\n"), {}, {})
@example((".csv", b"text,label\n" + b"".join(b"%d,%s\n" % (i, b"9" * 5000) for i in range(9)) + b"a,1\n"), {}, {})
def test_csv(table: tuple[str, bytes], settings: dict[str, Any], caps: dict[str, Any]) -> None:
    load({f"data{table[0]}": table[1]}, settings, caps)


def test_a_text_longer_than_the_readers_block_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    rows = [f"{i} {'x' * 2_000_000},{'ab'[i % 2]}" for i in range(8)]
    path.write_text("\n".join(["text,label", *rows]))
    config = load_config({"stream": {"kind": "local", "tasks": [{"name": "t", "train": str(path)}]}})
    assert max(len(text) for text in config.stream.load().tasks[0].train.inputs) > 2_000_000


# ---------------------------------------------------------------------- JSON lines


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | CELLS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=3,
)
RECORDS = st.fixed_dictionaries({"text": CELLS, "label": CELLS | st.integers(-2, 3) | st.booleans()})


@given(
    st.lists(RECORDS | RECORDS | st.dictionaries(NAMES, JSON, max_size=3) | JSON, max_size=12),
    st.data(),
    SETTINGS,
    CAPS,
)
def test_json_lines(records: list[object], data: st.DataObject, settings: dict[str, Any], caps: dict[str, Any]) -> None:
    lines = "\n".join(json.dumps(record, ensure_ascii=data.draw(st.booleans())) for record in records)
    load({"data.jsonl": data.draw(either_way(lines.encode("utf-8", "replace")))}, settings, caps)


STUMBLING = (
    b'{"text": ' + b"[" * 10_000,
    b'{"text": "\\ud800", "label": "a"}',
    b'{"text": "a", "label": NaN}',
    b'{"text": "a", "label": 1e400}',
    b'{"label": ' + b"9" * 5000 + b"}",
    b"\0",
    b'"text"',
)


@pytest.mark.parametrize("line", STUMBLING, ids=lambda line: repr(line[:30]))
def test_lines_that_json_readers_stumble_over(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "data.jsonl").write_bytes(b'{"text": "a", "label": "b"}\n' + line)
    with pytest.raises(DataError, match=r"data\.jsonl'") as caught:
        read_source(tmp_path / "data.jsonl", ("text", "label"))
    with only_clear_lines("" if b"u" in line else "line 2"):
        raise caught.value


# ---------------------------------------------------------------------- parquet


def cells_of(kind: pa.DataType) -> st.SearchStrategy[object]:
    made: dict[Callable[[Any], bool], st.SearchStrategy[object]] = {
        pa.types.is_boolean: st.booleans(),
        pa.types.is_unsigned_integer: st.integers(0, 3),
        pa.types.is_integer: st.integers(-2, 3),
        pa.types.is_floating: st.floats(width=16) | st.sampled_from([0.0, 1.0, float("nan"), float("inf")]),
        pa.types.is_decimal: st.just(decimal.Decimal("1.5")),
        pa.types.is_timestamp: st.just(datetime.datetime(2001, 1, 1)) | st.just(2**62),
        pa.types.is_date: st.just(datetime.date(2001, 1, 1)),
        pa.types.is_list: st.lists(st.integers(0, 2), max_size=2),
        pa.types.is_struct: st.just({"a": 1}),
        pa.types.is_null: st.none(),
        pa.types.is_binary: st.binary(max_size=3),
        pa.types.is_dictionary: st.sampled_from(["a", "b"]),
    }
    return next((cells for is_kind, cells in made.items() if is_kind(kind)), CELLS.filter(_is_text))


def _is_text(cell: str) -> bool:
    return cell.isprintable() or cell.isascii()


KINDS = [
    pa.string(), pa.string(), pa.large_string(), pa.string_view(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(),
    pa.float64(), pa.bool_(), pa.null(), pa.binary(), pa.decimal128(9, 2), pa.timestamp("us"), pa.timestamp("s"),
    pa.date32(), pa.list_(pa.int64()), pa.struct([("a", pa.int64())]), pa.dictionary(pa.int32(), pa.string()),
]  # fmt: skip
METADATA = st.sampled_from([b"", b"{", b"[]", b"[" * 9000, b'{"info": {"features": {"label": 3}}}']) | st.sampled_from(
    [["a", "b"], ["a"], "ab", [1, 2], [["a"]], {"a": 1}, None, []]
).map(lambda names: json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}).encode())


@st.composite
def parquet_files(draw: st.DrawFn) -> bytes:
    rows = draw(st.integers(0, 10))
    names = draw(st.just(["text", "label"]) | st.lists(NAMES, min_size=1, max_size=3))
    arrays = []
    for name in names:
        kind = draw(st.sampled_from(KINDS)) if name != "text" or draw(st.booleans()) else pa.string()
        nulls = draw(st.booleans()) and draw(st.booleans())
        cells = cells_of(kind) | st.none() if nulls else cells_of(kind)
        values = draw(st.lists(cells, min_size=rows, max_size=rows))
        if pa.types.is_floating(kind) and kind.bit_width == 16:
            values = [None if value is None else np.float16(value) for value in values]
        arrays.append(pa.array(values, type=kind))
    table = pa.Table.from_arrays(arrays, names=names)
    if draw(st.booleans()):
        table = table.replace_schema_metadata({"huggingface": draw(METADATA)})
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(table, sink, compression=draw(st.sampled_from(["snappy", "zstd", "none"])))
    except pa.ArrowInvalid:  # a column that parquet has no place for, such as seconds beyond its milliseconds
        reject()
    return sink.getvalue().to_pybytes()


@given(parquet_files().flatmap(either_way), SETTINGS, CAPS)
def test_parquet(content: bytes, settings: dict[str, Any], caps: dict[str, Any]) -> None:
    load({"data.parquet": content}, settings, caps)


def test_a_folder_of_the_path_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "label=z" / "train.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(20)], "label": ["a", "b"] * 10}), path)
    config = load_config({"stream": {"kind": "local", "tasks": [{"name": "t", "train": str(path)}]}})
    assert config.stream.load().tasks[0].label_names == ("a", "b")


# ---------------------------------------------------------------------- a folder per class, and anything else


FILE_NAMES = st.sampled_from(
    ["1.txt", "2.txt", "3.TXT", ".hidden.txt", "notes.md", "a b.txt", "ü.txt", "deep/1.txt", "x.txt/y.txt"]
)
CLASS_NAMES = st.sampled_from(["cats", "dogs", "1", "2", ".git", "a,b", "ü", " ", "-", "a\nb", "label=x"])


TEXT_FILES = st.binary(max_size=8) | CELLS.map(lambda cell: cell.encode("utf-8", "replace"))
FOLDERS = st.dictionaries(st.tuples(CLASS_NAMES, FILE_NAMES), TEXT_FILES, min_size=1, max_size=14)


@given(FOLDERS, CAPS)
def test_a_folder_per_class(files: dict[tuple[str, str], bytes], caps: dict[str, Any]) -> None:
    load({f"data/{place}/{name}": content for (place, name), content in files.items()}, {}, caps)


@given(st.sampled_from(["data.txt", "data", "data.csv", "data.jsonl", "data.parquet"]), st.binary(max_size=200))
def test_any_bytes(name: str, content: bytes) -> None:
    load({name: content}, {}, {})


@pytest.fixture(scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    deep = tmp_path_factory.mktemp("elsewhere") / "a" / "b" / "c"
    deep.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(deep)
        yield


@pytest.mark.usefixtures("_elsewhere")
@given(HOSTILE_TEXT.filter(_is_text))
def test_any_path(path: str) -> None:
    with only_clear_lines():
        load_config({"stream": {"kind": "local", "tasks": [{"name": "t", "train": path}]}}).stream.load()
