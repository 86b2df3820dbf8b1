"""Files with rows."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plora.errors import DataError
from plora.streams.base import Stream
from plora.streams.delimited import read_delimited
from plora.streams.local import LocalStream
from plora.streams.readers import read_source

ROWS = [(f"text {i}", "ab"[i % 2]) for i in range(30)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


Write = Callable[[str, str | bytes], Path]


def load(path: Path, **task: object) -> Stream:
    return LocalStream.model_validate({"tasks": [{"name": "t", "train": path, **task}]}).load()


def texts(path: Path) -> list[str]:
    found: list[str] = read_source(path, ("text", "label"), "label").table.column("text").to_pylist()
    return found


def refusal(path: Path, label: str | None = "label") -> str:
    with pytest.raises(DataError) as caught:
        read_source(path, ("text", "label"), label)
    (line,) = str(caught.value).splitlines()
    return line


def lines(rows: list[tuple[str, str]], delimiter: str = ",", end: str = "\n") -> str:
    return end.join(delimiter.join(row) for row in [("text", "label"), *rows]) + end


@pytest.mark.odd("a `.tsv` in which a field begins with a quote", "quotes are part of the text; every line is a row")
@pytest.mark.parametrize(
    "odd",
    [
        ['"Titanic" is a film'],
        ['"never closed'],
        ['"opened here', 'a screen of 5"'],  # the two together would be one quoted field
        ['"a whole sentence."', 'a 5" screen'],
        ['"', '""', '"""'],
    ],
    ids=repr,
)
def test_tsv_is_read_without_quoting(write: Write, odd: list[str]) -> None:
    rows = [*ROWS[:5], *((text, "a") for text in odd), *ROWS[5:]]
    path = write("t.tsv", lines(rows, "\t"))
    assert texts(path) == [text for text, _ in rows]
    count = load(path).rows["t.train"]
    assert (count.found, count.used) == (len(rows), len(rows))
    assert "read without quoting" in count.remarks[0]


@pytest.mark.odd(
    "a `.tsv` that is quoted throughout", "the quotes are taken off, tabs and line breaks in texts are kept"
)
@pytest.mark.parametrize(
    "content",
    [
        '"text"\t"label"\n"one\nand\ttwo"\t"a"\n"said ""yes"""\t"b"\n',
        'text\tlabel\n"one\nand\ttwo"\ta\n"said ""yes"""\tb\n',  # quotes where they are needed, as pandas writes them
    ],
)
def test_quoted_tsv(write: Write, content: str) -> None:
    assert texts(write("t.tsv", content)) == ["one\nand\ttwo", 'said "yes"']


def test_quotes_of_a_tsv_are_taken_off_where_all_of_a_column_say_so(write: Write) -> None:
    assert texts(write("a.tsv", 'text\tlabel\n"one"\ta\n"two ""2"""\tb\n')) == ["one", 'two "2"']
    assert texts(write("b.tsv", 'text\tlabel\none\ta\n"two ""2"""\tb\n')) == ["one", 'two "2"']
    assert texts(write("c.tsv", 'text\tlabel\n5" one\ta\n"two ""2"""\tb\n')) == ['5" one', '"two ""2"""']


@pytest.mark.odd("a `.csv` with a quote that is opened and never closed", "refused with its row and lines")
def test_a_quote_that_is_never_closed(write: Write) -> None:
    rows = [*ROWS[:4], ('"never closed', "a"), *ROWS[4:]]
    assert "row 5 (lines 6 to 32): a quote opens a field and is never closed" in refusal(write("t.csv", lines(rows)))


@pytest.mark.odd("a `.csv` with a quoted field that goes on after its quote", "refused with its row")
@pytest.mark.parametrize("text", ['"Titanic" is a film', '"he said \\"yes\\""'])
def test_a_quote_inside_a_field(write: Write, text: str) -> None:
    rows = [*ROWS[:2], (text, "a"), *ROWS[2:]]
    assert "row 3 (line 4): the field goes on after the quote that closes it" in refusal(write("t.csv", lines(rows)))


@pytest.mark.odd(
    "a `.csv` with two stray quotes, between which rows would be glued into one text",
    "refused with the row: lines of it look like rows of their own",
)
@pytest.mark.parametrize("label_first", [False, True])
def test_rows_between_two_quotes(write: Write, label_first: bool) -> None:
    if label_first:
        rows = [("a", "one"), ("b", '"opened here'), ("a", "two"), ("b", 'of 5"'), ("a", "three")]
        said = refusal(write("t.csv", "label,text\n" + "".join(f"{a},{b}\n" for a, b in rows)))
    else:
        rows = [("one", "a"), ('"opened here', "b"), ("two", "a"), ('of 5"', "b"), ("three", "a")]
        said = refusal(write("t.csv", lines(rows)))
    assert "row 2 (lines 3 to 5): a quoted field goes over 3 lines, of which 3 look like rows" in said


@pytest.mark.odd("a `.csv` with texts of several lines, in quotes", "read; how many there are is in the log")
def test_texts_of_several_lines_are_texts(write: Write) -> None:
    poem = '"roses, red\nviolets, blue\r\nsugar, sweet"'
    path = write("t.csv", lines([*ROWS, (poem, "a")]))
    assert texts(path)[-1] == "roses, red\nviolets, blue\r\nsugar, sweet"
    assert load(path).rows["t.train"].remarks == ("rows with texts of several lines: 1 (the first: row 31)",)
    assert len(read_delimited(path).table) == 31  # where nobody says which column is the label


@pytest.mark.odd("a row with more or fewer fields than the first line", "refused with row and line")
@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t")])
def test_uneven_rows(write: Write, name: str, delimiter: str) -> None:
    content = lines([*ROWS[:3], (f"one{delimiter}two", "a"), *ROWS[3:]], delimiter)
    assert "row 4 (line 5) has 3 fields, and the first line names 2 columns (text, label)" in refusal(
        write(name, content)
    )
    assert "row 4 (line 5) has 1 field" in refusal(write(name, lines(ROWS[:3], delimiter) + "alone\n"))


@pytest.mark.odd("blank lines in a `.csv`, `.tsv` or `.jsonl`", "left out and counted, in log, record and report")
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_blank_lines_are_counted(write: Write, name: str) -> None:
    content = lines(ROWS, "\t" if name.endswith("tsv") else ",")
    if name.endswith("jsonl"):
        content = "".join(f"{json.dumps({'text': text, 'label': label})}\n" for text, label in ROWS)
    stream = load(write(name, content + "\n \n"))
    count = stream.rows["t.train"]
    assert (count.found, count.used, count.reasons()) == (32, 30, {"blank lines": 2})
    assert stream.notes == {"rows of t.train": "30 of 32 used; left out: blank lines: 2"}


def test_every_row_is_counted_with_the_reason_why_it_is_not_used(tmp_path: Path, write: Write) -> None:
    train = write("t.csv", lines([*ROWS, ("text 30", "neutral"), ("text 31", "neutral")]))
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": ["a", "b", "a"]}), tmp_path / "test.parquet")
    caps = {"train_per_class": 10, "test_per_class": 1}
    tasks = [
        {"name": "t", "train": train, "test": tmp_path / "test.parquet", "map": {"a": "a", "b": "b", "neutral": None}}
    ]
    stream = LocalStream.model_validate({"tasks": tasks, **caps}).load()
    sizes = {name: len(split) for name, split in stream.tasks[0].splits()}
    count = stream.rows["t.train"]
    assert (count.found, count.used) == (32, sizes["train"] + sizes["validation"])
    assert count.reasons() == {"dropped by map": 2, "above the caps": 30 - count.used}
    assert stream.rows["t.test"].reasons() == {"above the caps": 1}
    assert stream.notes == {}  # the config asked for it


@pytest.mark.odd("`;`, tabs or `|` between the columns of a `.csv`", "refused; the line says what stands between them")
@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        ("t.csv", ";", "its columns seem to be separated by ';', and ',' was expected; save it with ','"),
        ("t.csv", "|", "its columns seem to be separated by '|'"),
        ("t.csv", "\t", "its columns seem to be separated by tabs, and ',' was expected; give it the ending .tsv"),
        ("t.tsv", ",", "its columns seem to be separated by ',', and tabs was expected; save it with tabs"),
    ],
)
def test_other_separators(write: Write, name: str, separator: str, message: str) -> None:
    assert message in refusal(write(name, lines(ROWS, separator)))
    quoted = [tuple(f'"{cell}"' for cell in row) for row in [("text", "label"), *ROWS]]
    assert message in refusal(write(name, "\n".join(separator.join(row) for row in quoted)))
    assert "begins with 'sep=;', which is for Excel alone" in refusal(write(name, "sep=;\n" + lines(ROWS, ";")))


@pytest.mark.odd("UTF-16, with its mark or without", "refused: save it as UTF-8")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_utf16(write: Write, name: str, encoding: str) -> None:
    path = write(name, lines(ROWS).encode(encoding))
    assert refusal(path) == f"'{path}' is UTF-16, not UTF-8; save it as UTF-8 (in Excel: 'CSV UTF-8')"


@pytest.mark.odd("a line in Latin-1 or another encoding", "refused with the line, the byte and its place")
def test_a_byte_that_is_no_utf8(write: Write) -> None:
    path = write("t.csv", lines(ROWS).encode() + "café,a\n".encode("latin-1"))
    assert refusal(path) == f"'{path}', line 32, is not UTF-8 text (byte 0xe9 at place 4); save it as UTF-8"


@pytest.mark.odd("a byte order mark", "no part of the first column's name, or of the first key")
def test_a_byte_order_mark(write: Write) -> None:
    for name, content in (
        ("t.csv", lines(ROWS)),
        ("t.tsv", lines(ROWS, "\t")),
        ("t.jsonl", '{"text":"a","label":"b"}'),
    ):
        assert texts(write(name, b"\xef\xbb\xbf" + content.encode()))


@pytest.mark.odd("U+2028, U+0085, form feeds inside a text", "part of the text: `\\n` and `\\r\\n` alone end a line")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_ends_a_line(write: Write, end: str) -> None:
    odd = ["one\u2028two", "one\x85two", "one\x0ctwo", "one\x0btwo", "one\x1etwo"]
    rows = [(text, "a") for text in odd]
    assert texts(write("t.csv", lines(rows, ",", end))) == odd
    assert texts(write("t.tsv", lines(rows, "\t", end))) == odd
    records = end.join(json.dumps({"text": text, "label": "a"}, ensure_ascii=False) for text in odd)
    assert texts(write("t.jsonl", records)) == odd


@pytest.mark.odd("lines that end in `\\r` alone, as old Macs wrote them", "read, where no `\\n` is in the file")
def test_lines_of_old_macs(write: Write) -> None:
    assert texts(write("t.csv", lines(ROWS, ",", "\r"))) == [text for text, _ in ROWS]
    assert texts(write("t.tsv", lines(ROWS, "\t", "\r"))) == [text for text, _ in ROWS]
    assert texts(write("u.tsv", lines([("one\rtwo", "a"), ("three", "b")], "\t"))) == ["one\rtwo", "three"]


@pytest.mark.odd('blanks after the commas, before a quote (`one, "a"`)', "refused with the row")
def test_blanks_before_quotes(write: Write) -> None:
    said = refusal(write("t.csv", 'text, label\n"one, two", "a"\n"three", "b"\n'))
    assert "row 1 (line 2): blanks stand before the quote that opens a field" in said
    assert texts(write("u.csv", "text , label\none, a\ntwo, b\n")) == ["one", "two"]  # those around names are no part


@pytest.mark.odd("a `.jsonl` line with half an emoji (`\\ud83d`)", "refused with the line")
def test_half_a_character(write: Write) -> None:
    content = '{"text": "whole \\ud83d\\ude00", "label": "a"}\n{"text": "cut \\ud83d", "label": "b"}\n'
    path = write("t.jsonl", content)
    said = f"'{path}', line 2: 'text' has \\ud83d, which is half a character; cut it off, or write \\ufffd in its place"
    assert refusal(path) == said
    elsewhere = write("u.jsonl", content.replace('"b"', '"b", "user": "\\ud83d"').replace("cut \\ud83d", "cut"))
    assert texts(elsewhere) == ["whole \U0001f600", "cut"]  # in a column that nobody reads


@pytest.mark.odd("a key twice in one line of a `.jsonl`", "refused with the line")
def test_a_key_twice(write: Write) -> None:
    said = refusal(write("t.jsonl", '{"text": "a", "text": "b", "label": "c"}\n'))
    assert "line 1, is not JSON (the key 'text' is written twice)" in said


@pytest.mark.odd("a `.jsonl` that is one list of JSON", "refused: an object per line is expected")
def test_a_list_of_json(write: Write) -> None:
    records = [{"text": text, "label": label} for text, label in ROWS]
    assert "line 1, begins a list of JSON; every line is one object" in refusal(
        write("t.jsonl", json.dumps(records, indent=1))
    )


@pytest.mark.odd("a column name that a file does not have", "refused with the names that it has")
def test_a_misspelt_column(tmp_path: Path, write: Write) -> None:
    pq.write_table(pa.table({"review": ["good", "bad"], "label": [0, 1]}), tmp_path / "t.parquet")
    for path in (
        tmp_path / "t.parquet",
        write("t.csv", "review,label\ngood,0\n"),
        write("t.jsonl", '{"review": "good", "label": 0}\n'),
    ):
        with pytest.raises(DataError, match="has no column 'text'; its columns are: review, label"):
            load(path)


@pytest.mark.odd("parquet whose texts are `string_view`, `large_string` or a dictionary", "read")
@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_kinds_of_texts(tmp_path: Path, kind: pa.DataType) -> None:
    found = [text for text, _ in ROWS]
    column = pa.array(found).cast(kind) if not pa.types.is_string_view(kind) else pa.array(found, kind)
    pq.write_table(pa.table({"text": column, "label": [label for _, label in ROWS]}), tmp_path / "t.parquet")
    stream = load(tmp_path / "t.parquet")
    assert {text for _, split in stream.tasks[0].splits() for text in split.identities() or ()} == set(found)
