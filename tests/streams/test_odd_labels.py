"""Labels."""

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.streams.base import Stream
from plora.streams.local import LocalStream


def csv(path: Path, labels: list[str], count: int = 12) -> Path:
    rows = [f'text {i} {label.strip()},"{label}"' for i in range(count) for label in labels]
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def parquet(path: Path, names: list[str] | None, ids: list[int], words: list[str]) -> Path:
    table = pa.table({"text": words, "label": ids})
    if names is not None:
        feature = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
    pq.write_table(table, path)
    return path


def load(train: Path, **task: object) -> Stream:
    return LocalStream.model_validate({"tasks": [{"name": "t", "train": train, **task}]}).load()


def labels(stream: Stream, split: str = "test") -> dict[object, str]:
    task = stream.tasks[0]
    (found,) = (found for name, found in task.splits() if name == split)
    assert found.labels is not None
    pairs = zip(found.identities() or (), found.labels.tolist(), strict=True)
    return {text: task.label_names[label] for text, label in pairs}


def refusal(train: Path, **task: object) -> str:
    with pytest.raises(DataError) as caught:
        load(train, **task)
    (line,) = str(caught.value).splitlines()
    return line


WORDS = ["a bill", "a parcel", "a refund"]


@pytest.mark.odd(
    "two parquet files that declare their classes in different orders",
    "the ids of each file are read with the names that it declares",
)
def test_each_file_has_its_own_order(tmp_path: Path) -> None:
    train = parquet(tmp_path / "a.parquet", ["bill", "parcel", "refund"], [0, 1, 2], WORDS)
    test = parquet(tmp_path / "b.parquet", ["refund", "bill", "parcel"], [1, 2, 0], WORDS)
    right = {"a bill": "bill", "a parcel": "parcel", "a refund": "refund"}
    for more in ({}, {"label_names": ["parcel", "refund", "bill"]}):
        stream = load(train, validation=train, test=test, **more)
        assert labels(stream, "train") == labels(stream, "test") == right
    assert stream.tasks[0].label_names == ("parcel", "refund", "bill")  # which label_names orders
    mapped = load(train, validation=train, test=test, map={"bill": "money", "parcel": "post", "refund": "money"})
    assert labels(mapped) == {"a bill": "money", "a parcel": "post", "a refund": "money"}


@pytest.mark.odd(
    "a file of ids beside two that declare different orders, or new names for such ids",
    "refused: a number may be either",
)
def test_an_id_that_may_be_either(tmp_path: Path) -> None:
    train = parquet(tmp_path / "a.parquet", ["bill", "parcel", "refund"], [0, 1, 2], WORDS)
    test = parquet(tmp_path / "b.parquet", ["refund", "bill", "parcel"], [1, 2, 0], WORDS)
    ids = parquet(tmp_path / "c.parquet", None, [0, 1, 2], WORDS)
    said = refusal(train, validation=ids, test=test)
    assert f"label 0 of '{ids}' may be 'bill' or 'refund'" in said
    assert "may be 'bill' or 'refund'" in refusal(train, validation=train, test=test, label_names=["X", "Y", "Z"])
    alone = load(train, validation=ids, test=train)  # of one order, those that declare nothing are
    assert labels(alone, "validation") == labels(alone, "train")


@pytest.mark.odd("ids in one file and names in another", "right where names are known, else refused")
def test_ids_beside_names(tmp_path: Path) -> None:
    ids, names = csv(tmp_path / "ids.csv", ["0", "1"]), csv(tmp_path / "names.csv", ["neg", "pos"])
    said = refusal(ids, test=names)
    assert f"the labels of '{ids}' are numbers ('0', '1') and those of '{names}' names ('neg', 'pos')" in said
    assert "label_names: [name of 0, name of 1, …]" in said
    stream = load(ids, test=names, label_names=["neg", "pos"])
    for split in ("train", "test"):
        assert all(
            text.split()[-1] in ("0" if label == "neg" else "1", label) for text, label in labels(stream, split).items()
        )  # type: ignore[attr-defined]
    declared = parquet(tmp_path / "d.parquet", ["pos", "neg"], [0, 1] * 6, [f"word {i}" for i in range(12)])
    assert labels(load(names, test=declared))["word 0"] == "pos"
    assert labels(load(declared, test=names))["text 0 pos"] == "pos"


def test_ids_of_a_file_that_has_not_all_of_them_stay_ids(tmp_path: Path) -> None:
    train = parquet(tmp_path / "a.parquet", ["1", "2", "3"], [0, 1, 2], WORDS)
    test = parquet(tmp_path / "b.parquet", ["1", "2", "3"], [1, 2], WORDS[1:])
    assert labels(load(train, validation=train, test=test)) == {"a parcel": "2", "a refund": "3"}


@pytest.mark.odd("whole numbers as `0.0` and `1.0`, as pandas writes them", "labels 0 and 1, in the order of numbers")
def test_floats_of_whole_numbers(tmp_path: Path) -> None:
    floats = csv(tmp_path / "f.csv", [f"{i}.0" for i in range(12)], count=8)
    assert load(floats).tasks[0].label_names == tuple(map(str, range(12)))
    two, plain = csv(tmp_path / "a.csv", ["0.0", "1.0"]), csv(tmp_path / "b.csv", ["0", "1"])
    assert load(two, label_names=["neg", "pos"]).tasks[0].label_names == ("neg", "pos")
    assert load(two, test=plain).tasks[0].label_names == ("0", "1")
    assert load(two, map={"0": "neg", "1": "pos"}).tasks[0].label_names == ("neg", "pos")
    assert load(two, map={"0.0": "neg", "1.0": "pos"}).tasks[0].label_names == ("neg", "pos")
    names = csv(tmp_path / "n.csv", ["neg", "pos"])
    assert labels(load(two, test=names, label_names=["neg", "pos"]))["text 0 pos"] == "pos"
    versions = csv(tmp_path / "v.csv", ["1.0", "1.5", "2.0"])
    assert load(versions).tasks[0].label_names == ("1.0", "1.5", "2.0")  # not all are whole: names
    assert set(labels(load(versions, test=csv(tmp_path / "w.csv", ["1.0", "2.0"]))).values()) == {"1.0", "2.0"}


@pytest.mark.odd("`yes`, `no`, `on`, `true` without quotes in `map` or `label_names`", "refused by `plora validate`")
@pytest.mark.parametrize("given", ["map: {yes: a, no: b}", "map: {a: yes, b: no}", "label_names: [off, on]"])
def test_booleans_of_yaml(tmp_path: Path, given: str) -> None:
    path = tmp_path / "c.yaml"
    task = f"{{name: a, train: a.csv, {given}}}"
    path.write_text(f"stream: {{kind: local, tasks: [{task}]}}\nscenario: task\nmethod: per_task\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    (line,) = caught.value.problems
    assert line.startswith(f"stream.tasks.0.{given.partition(':')[0]}: got ")
    assert line.endswith("write it in quotes: 'yes'")
    path.write_text(f"stream: {{kind: local, tasks: [{{name: a, train: {csv(tmp_path / 'a.csv', ['yes', 'no'])}, "
                    "map: {'yes': a, 'no': b}}]}\nscenario: task\nmethod: per_task\n")  # fmt: skip
    assert load_config(path).stream.load().tasks[0].label_names == ("a", "b")


@pytest.mark.odd("blanks, no-break spaces or line breaks around a label", "no part of it")
@pytest.mark.odd("composed and decomposed letters (`é` as one character or two)", "one label, composed")
def test_labels_are_cleaned(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv", ["né", "ne\u0301", " né", "né\xa0", "pos\t", "\ufeffpos", "pos\n", "pos"])
    stream = load(path)
    assert stream.tasks[0].label_names == ("né", "pos")
    assert stream.notes == {}
    assert load(path, label_names=["pos ", "ne\u0301"]).tasks[0].label_names == ("pos", "né")
    assert load(path, map={"ne\u0301": "minus\xa0", " pos": "plus"}).tasks[0].label_names == ("minus", "plus")
    assert "row 1: the label in column 'label' is missing" in refusal(csv(tmp_path / "b.csv", ["\xa0", "a"]))


@pytest.mark.odd(
    "classes that differ in case, inner blanks or normal form alone", "a warning in log, record and report"
)
def test_classes_that_look_alike(tmp_path: Path) -> None:
    stream = load(csv(tmp_path / "a.csv", ["very good", "Very Good", "very\xa0good", "bad"]))
    assert len(stream.tasks[0].label_names) == 4
    (note,) = stream.notes.values()
    assert [f"'{name}'" in note for name in ("very good", "Very Good", "very\xa0good", "bad")] == [
        True,
        True,
        True,
        False,
    ]
    said = refusal(csv(tmp_path / "b.csv", ["pos", "neg"]), test=csv(tmp_path / "c.csv", ["Pos", "neg"]))
    assert "label 'Pos' appears in test but never in train; it differs from 'pos' in case" in said
    said = refusal(csv(tmp_path / "b.csv", ["pos", "neg"]), label_names=["Pos", "neg"])
    assert "it differs from 'Pos' in case, blanks or normal form alone" in said
    said = refusal(csv(tmp_path / "b.csv", ["pos", "neg"]), map={"Pos": "a", "neg": "b"})
    assert "b.csv', row 1: the label 'pos' is not in map (Pos, neg); it differs from 'Pos'" in said


@pytest.mark.odd("a file of label names with a byte order mark, `\\r\\n` or blanks", "read without them")
def test_a_file_of_label_names(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_bytes("\ufeffnegative\r\n positive\xa0\r\n\r\n".encode())
    for data in (["0", "1"], ["negative", "positive"]):
        assert load(csv(tmp_path / "a.csv", data), label_names=str(names)).tasks[0].label_names == (
            "negative",
            "positive",
        )
    names.write_bytes("negative\npositive\n".encode("utf-16"))
    assert "is UTF-16, not UTF-8" in refusal(csv(tmp_path / "a.csv", ["0", "1"]), label_names=str(names))


@pytest.mark.odd("a label −1, as the hub writes it where a split has no labels", "refused, and said")
def test_the_hubs_mark_for_no_label(tmp_path: Path) -> None:
    train = parquet(tmp_path / "a.parquet", ["bill", "parcel", "refund"], [0, 1, 2], WORDS)
    test = parquet(tmp_path / "b.parquet", ["bill", "parcel", "refund"], [-1, -1, -1], WORDS)
    assert "the hub writes -1 where a split has no labels" in refusal(train, validation=train, test=test)


@pytest.mark.odd("a wrong key in a config", "one line about it, and none that only follows from it")
def test_one_mistake_is_one_line() -> None:
    def problems(task: Mapping[str, object]) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load_config({"stream": {"kind": "local", "tasks": [{"name": "a", "train": "a.csv", **task}]}})
        return caught.value.problems

    (line,) = problems({"lable": "label"})
    assert line.startswith("stream.tasks.0.lable: unknown key; did you mean 'label'?")
    (line,) = problems({"text": 5})  # which may be a string or a list
    assert line == "stream.tasks.0.text: got 5; expected a valid string, or a valid tuple"
    with pytest.raises(ConfigError, match=r"stream.tasks: got .*at least 1 item"):
        load_config({"stream": {"kind": "local", "tasks": []}})
