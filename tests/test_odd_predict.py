"""`plora predict`."""

import csv
import datetime
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from plora.cli import app
from plora.config import load_config
from plora.errors import DataError
from plora.runs import predict, run

ODD = ["apple\u2028pear", "loaf\x0ccrust", "rye\x85 bun", "plum\tgrape", "", "a\rb", "apple pear"]


@pytest.fixture(scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLORA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


Learned = Callable[..., Path]


@pytest.fixture(scope="module")
def learned(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory, _cache: None) -> Learned:
    """Make a run that solves nearest means on rows of two columns of texts."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [
        f"{text} {i},{text},{label}" for i in range(8) for text, label in (("apple pear", "fruit"), ("loaf", "bread"))
    ]
    (folder / "food.csv").write_text("\n".join(["body,title,kind", *rows]))

    def make(name: str, **task: object) -> Path:
        values = {
            "name": name,
            "stream": {
                "kind": "local",
                "tasks": [{"name": "food", "train": folder / "food.csv", "label": "kind", **task}],
            },
            "scenario": "class",
            "method": "frozen",
            "head": "ncm",
            "backbone": {"id": str(tiny_backbone), "max_length": 16},
            "output": folder,
        }
        return run(load_config(values, []))

    return make


@pytest.fixture(scope="module")
def texts(learned: Learned) -> Path:
    return learned("texts", text="body")


@pytest.fixture(scope="module")
def pairs(learned: Learned) -> Path:
    return learned("pairs", text=["title", "body"])


def answers(source: Path, *arguments: object, stdin: bytes = b"") -> list[object]:
    done = CliRunner().invoke(app, ["predict", str(source), "--json", *map(str, arguments)], input=stdin)
    assert done.exit_code == 0, (done.output, done.exception)
    return [json.loads(line)["text"] for line in done.stdout.splitlines()]


def refusal(source: Path, *arguments: object, stdin: bytes = b"") -> str:
    done = CliRunner().invoke(app, ["predict", str(source), *map(str, arguments)], input=stdin)
    assert isinstance(done.exception, DataError), done.output
    assert done.stdout == ""
    (line,) = str(done.exception).splitlines()
    return line


@pytest.mark.odd(
    "U+2028, U+0085, form feeds, `\\r`, tabs and empty lines in a file of texts", "one line out per line in"
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_line_out_per_line_in(texts: Path, tmp_path: Path, end: str) -> None:
    content = (end.join(ODD) + end).encode()
    (tmp_path / "texts.txt").write_bytes(content)
    assert answers(texts, tmp_path / "texts.txt") == answers(texts, stdin=content) == ODD
    done = CliRunner().invoke(app, ["predict", str(texts), str(tmp_path / "texts.txt")])
    assert len(done.stdout.split("\n")) == len(ODD) + 1
    (tmp_path / "more.txt").write_bytes(b"\xef\xbb\xbfone\ntwo")
    assert answers(texts, tmp_path / "more.txt", "a loaf", tmp_path / "more.txt") == [
        "one",
        "two",
        "a loaf",
        "one",
        "two",
    ]


@pytest.mark.odd("a tab in a text", "part of the text, unless the task was learned on pairs")
@pytest.mark.odd("a line without a tab, where the task was learned on pairs", "refused with the line")
def test_tabs_and_pairs(texts: Path, pairs: Path) -> None:
    assert answers(texts, "apple\tloaf") == ["apple\tloaf"]
    assert answers(pairs, "apple\tloaf", "a\tb\tc") == [["apple", "loaf"], ["a", "b\tc"]]
    said = "stdin, line 2 has no tab; the task was learned on pairs: write the first text, a tab, the second"
    assert refusal(pairs, stdin=b"a\tb\nalone\n") == said


def test_a_run_of_an_older_version_says_by_its_config_what_it_takes(
    pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plora.run_folder.folder import RunFolder

    whole = RunFolder.read_environment
    monkeypatch.setattr(
        RunFolder,
        "read_environment",
        lambda folder: (found := whole(folder)).model_copy(
            update={"stream": found.stream.model_copy(update={"pairs": None})}
        ),
    )
    assert answers(pairs, "apple\tloaf") == [["apple", "loaf"]]


@pytest.mark.odd("the name of a file that does not exist", "refused, and never labelled as a text")
@pytest.mark.odd("a folder, where texts are expected", "refused")
@pytest.mark.parametrize(
    "name",
    [
        "textz.txt",
        "mails.csv",
        "my mails.jsonl",
        "a.TSV",
        "no/such/texts.txt",
        "./texts",
        "../x",
        "/no/such",
        "data.gz",
        "a.b",
    ],
)
def test_a_file_that_does_not_exist(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("a\n")
    said = refusal(texts, name)
    assert said.startswith(f"there is no file '{name}'")
    assert ("did you mean 'texts.txt'?" in said) == (name in ("textz.txt", "./texts"))
    refusal(texts, "texts.txt", name)
    assert refusal(texts, tmp_path).startswith(f"'{tmp_path}' is a folder; name a file with one text per line")


def test_what_only_looks_like_a_name_is_a_text(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["apple", "and/or", "It ends here.", "see example.com now", "3.5", "e.g.", "a" * 5000, "two\nlines", "…"]
    assert answers(texts, *words) == words
    assert answers(texts, stdin=b"mails.csv\n") == ["mails.csv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_is_read(texts: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("apple\nloaf\n"))
    writer.start()
    assert answers(texts, tmp_path / "pipe") == ["apple", "loaf"]
    writer.join()


RECORDS = [
    {"id": 7, "body": "apple\npear", "title": 'so "good"', "tags": ["x", 1], "ok": True},
    {"id": 8, "body": "", "title": None, "tags": [], "ok": False},
    {"id": 9, "body": "loaf\t\u2028", "title": "=1", "tags": None, "ok": None},
]


def table_file(path: Path) -> Path:
    """The records, as the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, RECORDS)), encoding="utf-8")
    elif path.suffix == ".parquet":
        day = [datetime.date(2001, 1, 1)] * 3
        columns = {key: [record[key] for record in RECORDS] for key in ("id", "body", "title", "ok")}
        pq.write_table(pa.table(columns).append_column("day", pa.array(day)), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([["id", "body", "title"], *([r["id"], r["body"], r["title"]] for r in RECORDS)])
    return path


def rows_of(path: Path) -> list[dict[str, object]]:
    if path.suffix == ".parquet":
        found: list[dict[str, object]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.odd(
    "a CSV, TSV, JSON lines or parquet file", "a row out per row in, its columns kept, with `--out` into any of them"
)
@pytest.mark.parametrize(
    ("of", "into"),
    [
        (".csv", ".csv"),
        (".tsv", ".tsv"),
        (".jsonl", ".jsonl"),
        (".parquet", ".parquet"),
        (".tsv", ".parquet"),
        (".jsonl", ".csv"),
        (".parquet", ".jsonl"),
    ],
)
def test_tables_in_and_out(texts: Path, tmp_path: Path, of: str, into: str) -> None:
    given, out = table_file(tmp_path / f"given{of}"), tmp_path / f"out{into}"
    bodies = [record["body"] for record in RECORDS]
    assert answers(texts, given) == bodies
    done = CliRunner().invoke(app, ["predict", str(texts), str(given), "--out", str(out)])
    assert (done.exit_code, done.stdout) == (0, ""), done.exception
    expected = predict(texts, bodies)
    before, after = rows_of(given), rows_of(out)
    assert len(after) == len(RECORDS)
    for old, new, found in zip(before, after, expected, strict=True):
        assert new["predicted"] == found.labels[0]
        assert float(str(new["probability"])) == pytest.approx(found.probabilities[0])
        assert [*new] == [*old, "predicted", "probability"]
        assert {key: new[key] for key in old} == old or of != into
        assert new["body"] == old["body"]
    if of == into == ".parquet":
        assert pq.read_schema(out).field("day").type == pa.date32()


@pytest.mark.odd(
    "`--out` that is the input, has another ending, or a column of its name", "refused before anything is computed"
)
def test_what_cannot_be_written(texts: Path, tmp_path: Path) -> None:
    given = table_file(tmp_path / "given.csv")
    assert refusal(texts, given, "--out", given).endswith("given.csv is the file that is read; name another one")
    assert "expected a name that ends in .csv, .tsv, .jsonl, .parquet" in refusal(
        texts, given, "--out", tmp_path / "a.xls"
    )
    (tmp_path / "b.csv").write_text("body,predicted\na,b\n")
    assert "there is a column 'predicted' already" in refusal(texts, tmp_path / "b.csv", "--out", tmp_path / "c.csv")
    assert "is a table, and 2 inputs are given" in refusal(texts, given, "apple")


@pytest.mark.odd(
    "a table whose column of texts has another name than in training", "refused with its columns; `--text` names it"
)
@pytest.mark.odd("a table without a text in some row", "refused with the row")
def test_which_column_is_the_text(texts: Path, pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("words,more\napple,pear\n\nloaf,bun\n")
    assert (
        refusal(texts, path)
        == f"'{path}' has no column 'body'; its columns are: words, more; name the one with the texts by --text"
    )
    assert answers(texts, path, "--text", "words") == ["apple", "loaf"]
    assert answers(pairs, path, "--text", "more", "--text", "words") == [["pear", "apple"], ["bun", "loaf"]]
    assert answers(pairs, table_file(tmp_path / "two.csv"))[0] == ['so "good"', "apple\npear"]
    done = CliRunner().invoke(app, ["predict", str(texts), str(path), "--text", "words"])
    assert done.stderr == "plora: left out: blank lines: 1\n"
    (tmp_path / "null.jsonl").write_text('{"body": "a"}\n{"body": null}\n')
    assert "row 2: the text in 'body' is missing" in refusal(texts, tmp_path / "null.jsonl")
    assert "--text names a column of a table, and no table is given" in refusal(texts, "apple", "--text", "words")


@pytest.mark.odd(
    "a `.csv` with texts of several lines, in quotes, to be labelled", "read; how many there are is said on stderr"
)
def test_texts_of_several_lines(texts: Path, tmp_path: Path) -> None:
    path = tmp_path / "mails.csv"
    path.write_text('id,body\n1,"Dear John\nthanks, bye"\n2,apple\n')
    done = CliRunner().invoke(app, ["predict", str(texts), str(path)])
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "plora: rows with texts of several lines: 1 (the first: row 1)\n"
    path.write_text('body,kind\n"apple,fruit\nloaf,bread\nof 5",fruit\nplum,fruit\n')
    assert "row 1 (lines 2 to 4): a quoted field goes over 3 lines, of which 2" in refusal(texts, path)


def test_lines_can_be_written_as_a_table(texts: Path, pairs: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["predict", str(texts), "apple", "loaf", "--out", str(tmp_path / "out.csv")])
    assert done.exit_code == 0, done.exception
    assert [row["text"] for row in rows_of(tmp_path / "out.csv")] == ["apple", "loaf"]
    done = CliRunner().invoke(app, ["predict", str(pairs), "a\tb", "--out", str(tmp_path / "out.jsonl")])
    assert [(row["first"], row["second"]) for row in rows_of(tmp_path / "out.jsonl")] == [("a", "b")]


def test_progress_counts_every_input(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["apple", "loaf", "apple pear", "rye", "plum"]
    whole = predict(texts, words)
    monkeypatch.setattr("plora.runs.predicting._AT_ONCE", 2)
    seen: list[int] = []
    found = predict(texts, words, progress=seen.append)
    assert seen == [2, 2, 1]
    assert [one.labels for one in found] == [one.labels for one in whole]


@pytest.mark.odd("labels with line breaks or tabs", "shown as `\\n` and `\\t`: a line per text")
def test_labels_with_line_breaks(learned: Learned, tmp_path: Path) -> None:
    rows = [f'apple {i},a,"fresh\nfruit"\nloaf {i},b,"bread\tand\u2028bun"' for i in range(8)]
    (tmp_path / "odd.csv").write_text("\n".join(["body,title,kind", *rows]), encoding="utf-8")
    source = learned("labels", text="body", train=tmp_path / "odd.csv")
    done = CliRunner().invoke(app, ["predict", str(source), "apple", "loaf"])
    assert len(done.stdout.splitlines()) == 2
    assert r"fresh\nfruit" in done.stdout
    assert r"bread\tand\u2028bun" in done.stdout
    assert all(line.count("\t") == 1 for line in done.stdout.splitlines())


def test_what_was_counted_stands_in_log_environment_and_record(learned: Learned, tmp_path: Path) -> None:
    rows = [f"apple {i},a,fruit\nloaf {i},b,Fruit" for i in range(8)]
    (tmp_path / "odd.csv").write_text("\n".join(["body,title,kind", *rows, "", ""]))
    source = learned("counted", text="body", train=tmp_path / "odd.csv")
    log = (source / "log.txt").read_text(encoding="utf-8")
    assert "event=rows source=food.train found=17 used=16 left_out=blank_lines:_1" in log
    assert "classes_that_differ_in_case,_blanks_or_normal_form_alone" in log
    environment = json.loads((source / "environment.json").read_text(encoding="utf-8"))
    assert environment["stream"]["rows"] == {"food.train": {"found": 17, "used": 16, "left_out": {"blank lines": 1}}}
    notes = json.loads((source / "results.json").read_text(encoding="utf-8"))["stream"]["notes"]
    assert notes["rows of food.train"] == "16 of 17 used; left out: blank lines: 1"
    assert "'Fruit'" in notes["classes that differ in case, blanks or normal form alone"]
