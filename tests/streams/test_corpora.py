from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from plora.errors import DataError
from plora.streams import STREAMS, Corpora, Stream
from plora.streams.documents import Documents
from plora.streams.word_runs import letters


def _text(number: int, of: str) -> str:
    """A text of twelve words whose runs no other number has."""
    own = of + "".join(chr(97 + int(digit)) for digit in str(number))
    return " ".join(f"{chr(97 + place)}{own}" for place in range(12))


def _load(*domains: object, **more: object) -> Stream:
    given = {"domains": [*domains], "validation_fraction": 0.2, "test_fraction": 0.2, **more}
    return Corpora.model_validate(given).load()


@pytest.fixture
def domain(tmp_path: Path) -> Callable[..., dict[str, object]]:
    def write(name: str, count: int = 60, texts: Mapping[str, str] | None = None) -> dict[str, object]:
        folder = tmp_path / name
        folder.mkdir()
        for file, text in (texts or {f"{number}.txt": _text(number, name) for number in range(count)}).items():
            (folder / file).write_text(text, encoding="utf-8")
        return {"name": name, "path": str(folder)}

    return write


def _texts(stream: Stream, task: str) -> dict[str, tuple[str, ...]]:
    found = next(one for one in stream.tasks if one.name == task)
    splits: dict[str, tuple[str, ...]] = {}
    for name, split in found.splits():
        assert isinstance(split, Documents)
        splits[name] = split.texts
    return splits


def test_each_domain_is_a_task_of_documents(domain: Callable[..., dict[str, object]]) -> None:
    stream = _load(domain("law"), domain("sport"))
    assert [task.name for task in stream.tasks] == ["law", "sport"]
    assert STREAMS["corpora"] is Corpora
    for task in stream.tasks:
        splits = _texts(stream, task.name)
        assert sum(map(len, splits.values())) == len({text for texts in splits.values() for text in texts}) == 60
        assert len(splits["train"]) > 30
        assert task.label_names == ()
        assert task.test_duplicates() == 0
    stream.require("domain")
    with pytest.raises(DataError, match="no class-incremental form"):
        stream.require("class")


def test_the_order_of_files_and_other_domains_decide_nothing(domain: Callable[..., dict[str, object]]) -> None:
    one = domain("law")
    alone = _load(one)
    beside = _load(domain("sport"), one)
    assert _texts(alone, "law") == _texts(beside, "law")
    renamed = {f"{99 - number}.md": _text(number, "law") for number in range(60)}
    again = _load(domain("law2", texts=renamed))
    assert _texts(alone, "law") == _texts(again, "law2")
    assert alone.tasks[0].fingerprints() == again.tasks[0].fingerprints()


def test_base_and_rest_share_no_text_and_are_all_of_it(domain: Callable[..., dict[str, object]]) -> None:
    domains = [domain("law"), domain("sport"), domain("art")]
    common = {"base": ["law", "sport"], "base_fraction": 0.7}
    base = _load(*domains, **common, part="base")
    rest = _load(*domains, **common, part="adapt", split="random")
    other = _load(*domains, **common, part="adapt")
    assert [[task.name for task in stream.tasks] for stream in (base, rest, other)] == [["base"], ["adapt"], ["art"]]
    of_base, of_rest = ({text for own in _texts(s, s.tasks[0].name).values() for text in own} for s in (base, rest))
    assert not of_base & of_rest
    assert of_base | of_rest == {_text(number, name) for number in range(60) for name in ("law", "sport")}
    assert len(of_base) > 1.5 * len(of_rest)


def test_a_text_of_the_base_is_in_no_domain_that_is_adapted_to(domain: Callable[..., dict[str, object]]) -> None:
    shared = _text(3, "law").upper().replace(" ", " 7, ")
    domains = [domain("art", texts={f"{n}.txt": _text(n, "art") for n in range(60)} | {"x.txt": shared}), domain("law")]
    stream = _load(*domains, base=["law"], part="adapt")
    assert shared not in {text for texts in _texts(stream, "art").values() for text in texts}
    assert stream.rows["art"].left_out["the same letters as another document"] == 1
    assert "1" in stream.notes["rows of art"]


def test_what_is_held_out_stands_in_no_training_text(domain: Callable[..., dict[str, object]]) -> None:
    given = domain("law", 80)
    splits = _texts(_load(given), "law")
    held, near = splits["test"][0], f"A preface of some few words. {splits['test'][0]}"
    copies = {
        f"copy-{number}.txt": f"{near} {'new ' * number}" for number in range(40)
    }  # some of them are for training
    for name, text in copies.items():
        (Path(str(given["path"])) / name).write_text(text, encoding="utf-8")
    stream = _load(given)
    splits = _texts(stream, "law")
    train = " | ".join(map(letters, splits["train"]))
    assert letters(near) in train
    assert not [text for name in ("validation", "test") for text in splits[name] if letters(held) in letters(text)]
    assert stream.rows["law"].left_out["held out, and mostly in training documents"] >= 1


def test_caps_are_in_bytes_and_of_whole_documents(domain: Callable[..., dict[str, object]]) -> None:
    given = domain("law")
    whole = _texts(_load(given), "law")
    stream = _load(given, train_bytes=1000, test_bytes=1)
    capped = _texts(stream, "law")
    size = sum(len(text.encode()) for text in capped["train"])
    assert 1000 - len(whole["train"][len(capped["train"])].encode()) < size <= 1000
    assert whole["train"][: len(capped["train"])] == capped["train"]
    assert len(capped["test"]) == 1
    dropped = sum(len(whole[split]) - len(capped[split]) for split in whole)
    assert stream.rows["law"].own == {"above the caps": dropped}
    assert stream.rows["law"].used == sum(map(len, capped.values()))
    with pytest.raises(DataError, match=r"train_bytes asks for 9,000,000 bytes, and there are [\d,]+ of train text"):
        _load(given, train_bytes=9_000_000)


def test_paragraphs_are_documents(tmp_path: Path) -> None:
    text = "\r\n\r\n".join(_text(number, "p") for number in range(60)) + "\r\n  \r\n\r\n"
    (tmp_path / "book.txt").write_bytes(text.encode())
    given = {"name": "book", "path": str(tmp_path / "book.txt")}
    stream = _load({**given, "paragraphs": True})
    assert {t for own in _texts(stream, "book").values() for t in own} == {_text(n, "p") for n in range(60)}
    with pytest.raises(DataError, match=r"no document is left for .* set paragraphs: true"):
        _load(given)


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_rows_of_tables_are_documents(tmp_path: Path, ending: str) -> None:
    table = pa.table({"body": [*(_text(number, "t") for number in range(60)), " "]})
    path = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pa.parquet.write_table(table, path)
    elif ending == "csv":
        path.write_text("body\n" + "\n".join(f'"{text}"' for text in table["body"].to_pylist()))
    else:
        path.write_text("\n".join(f'{{"body": "{text}"}}' for text in table["body"].to_pylist()))
    stream = _load({"name": "t", "path": str(path), "text": "body"})
    assert sum(len(own) for own in _texts(stream, "t").values()) == 60
    assert stream.rows["t"].left_out["empty"] == 1
    with pytest.raises(DataError, match="has no column 'text'"):
        _load({"name": "t", "path": str(path)})


def test_splits_of_the_hub_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "hub" / "me" / "texts"
    folder.mkdir(parents=True)
    for split, numbers in {"train": range(60), "test": range(50, 70)}.items():
        pa.parquet.write_table(pa.table({"text": [_text(n, "h") for n in numbers]}), folder / f"{split}.parquet")
    files = "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n")
    own = {"name": "h", "hub": {"id": "me/texts"}}
    splits = _texts(_load(own, root=tmp_path / "hub", cache=tmp_path / "c"), "h")
    assert {*splits["test"]} == {_text(number, "h") for number in range(50, 70)}
    assert {*splits["train"], *splits["validation"]} == {_text(number, "h") for number in range(50)}
    assert splits["validation"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"good \xff bad", r"is not UTF-8 text \(byte 0xff at place 6\)"),
        ("\u00e4\0 text".encode(), r"is binary \(byte 0x00 at place 3\)"),
        (b" \n ", "is empty"),
        ("words in another code".encode("utf-16"), "is UTF-16"),
    ],
)
def test_files_that_are_no_documents_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "good.txt").write_text("a text")
    (tmp_path / "odd.md").write_bytes(content)
    with pytest.raises(DataError, match=rf"odd\.md'.*{says}"):
        _load({"name": "d", "path": str(tmp_path)})


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"")
    for path, says in {
        tmp_path: "has no file that ends in .txt or .md",
        tmp_path / "image.png": "ends in '.png', which is not read; give .txt, .md, .csv",
        tmp_path / "imagge.png": "there is no file or folder .*did you mean 'image.png'",
    }.items():
        with pytest.raises(DataError, match=says):
            _load({"name": "d", "path": str(path)})
    with pytest.raises(DataError, match="'no_such_package', which is not installed; install it with: pip"):
        _load("no_such_package")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"domains": ["numpy", "numpy"]}, "'numpy' is the name of several"),
        ({"domains": [{"name": "x"}]}, "'x' has no source; expected one of docstrings, path and hub"),
        ({"domains": [{"name": "x", "path": "a", "docstrings": "b"}]}, "'x' has docstrings and path"),
        ({"base": ["nunpy"], "part": "base"}, "'nunpy' is none of the domains .*did you mean 'numpy'"),
        ({"part": "adapt"}, "part 'adapt' needs the names of its domains"),
        ({"base": ["numpy"]}, "part 'all' has no base"),
        ({"base": ["numpy"], "part": "base", "split": "random"}, "part 'base' is the same for both"),
        ({"base": ["numpy", "scipy"], "part": "adapt"}, "nothing is left to adapt to; set split=random"),
    ],
)
def test_settings_that_do_not_fit_are_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Corpora.model_validate({"domains": ["numpy", "scipy"], **more})
