"""Tables with label sets and numbers

Every form gives the same targets, and a mistake is one line that names it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from pydantic import ValidationError

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.runs.validating import validate
from plora.streams import LabelSets, LabelSetStream, Numbers, NumberStream, Stream
from plora.streams.base import Texts
from plora.streams.images import ImageFiles

ROWS: list[dict[str, object]] = [
    {
        "text": f"text {number}",
        "topics": [name for name, every in (("sport", 2), ("news", 3)) if number % every == 0],
        "price": number * 1.5,
        "pair": [number, -number],
    }
    for number in range(20)
]


def lines(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def load(kind: type[LabelSetStream] | type[NumberStream], train: Path, **keys: object) -> Stream:
    return kind.model_validate({"tasks": [{"name": "t", "train": str(train), **keys}]}).load()


def targets(stream: Stream) -> dict[str, list[float]]:
    """By text, over all splits."""
    found = {}
    for _, split in stream.tasks[0].splits():
        assert isinstance(split, LabelSets | Numbers)
        assert isinstance(split.inputs, Texts)
        found |= dict(zip(map(str, split.inputs.inputs), split.targets.tolist(), strict=True))
    return found


def test_label_sets_in_every_form_are_the_same(tmp_path: Path) -> None:
    expected = {f"text {n}": [float(n % 3 == 0), float(n % 2 == 0)] for n in range(20)}
    of_lists = load(LabelSetStream, lines(tmp_path / "a.jsonl", ROWS), labels="topics")
    assert of_lists.tasks[0].label_names == ("news", "sport")
    assert targets(of_lists) == expected
    table = pa.table({name: [row[name] for row in ROWS] for name in ("text", "topics")})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert targets(load(LabelSetStream, tmp_path / "a.parquet", labels="topics")) == expected
    joined = "text,topics\n" + "\n".join(f"{row['text']},{' ; '.join(map(str, row['topics']))}" for row in ROWS)  # type: ignore[arg-type]
    (tmp_path / "a.csv").write_text(joined, encoding="utf-8")
    assert targets(load(LabelSetStream, tmp_path / "a.csv", labels="topics", separator=";")) == expected
    flags = "text,news,sport\n" + "\n".join(f"text {n},{int(n % 3 == 0)},{int(n % 2 == 0)}" for n in range(20))
    (tmp_path / "b.csv").write_text(flags, encoding="utf-8")
    assert targets(load(LabelSetStream, tmp_path / "b.csv", labels=["news", "sport"])) == expected
    assert of_lists.fingerprint() == load(LabelSetStream, tmp_path / "a.jsonl", labels="topics").fingerprint()
    turned = load(LabelSetStream, tmp_path / "a.jsonl", labels="topics", label_names=["sport", "news"])
    assert turned.tasks[0].label_names == ("sport", "news")
    assert targets(turned) == {text: own[::-1] for text, own in expected.items()}


def test_numbers_in_every_form(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", ROWS)
    assert targets(load(NumberStream, path, targets="price")) == {f"text {n}": [n * 1.5] for n in range(20)}
    pairs = load(NumberStream, path, targets="pair")
    assert pairs.tasks[0].label_names == ("pair 1", "pair 2")
    assert targets(pairs)["text 7"] == [7, -7]
    (tmp_path / "a.csv").write_text(
        "text,x,y\n" + "\n".join(f"text {n},{n},{n / 8}" for n in range(20)), encoding="utf-8"
    )
    both = load(NumberStream, tmp_path / "a.csv", targets=["y", "x"])
    assert both.tasks[0].label_names == ("y", "x")
    assert targets(both)["text 4"] == [0.5, 4]
    sizes = [len(split) for _, split in both.tasks[0].splits()]
    assert sum(sizes) == 20
    assert sizes[2] == 4  # a fifth, by the hash of the text
    test = lines(tmp_path / "test.jsonl", ROWS[:3])
    assert len(load(NumberStream, path, test=str(test), targets="price").tasks[0].test) == 3


@pytest.mark.odd("a path of an image that leads nowhere", "refused with its row")
def test_images_are_found_from_the_folder_of_the_table(tmp_path: Path) -> None:
    for number in range(8):
        Image.new("L", (2, 2), number).save(tmp_path / f"{number}.png")
    table = "file,dark\n" + "\n".join(f"{n}.png,{n}" for n in range(8))
    (tmp_path / "images.csv").write_text(table, encoding="utf-8")
    found = load(NumberStream, tmp_path / "images.csv", image="file", targets="dark").tasks[0]
    assert isinstance(found.train, Numbers)
    assert isinstance(found.train.inputs, ImageFiles)
    pixels = [int(np.asarray(image)[0, 0]) for image in found.train.read(np.arange(len(found.train)))]  # type: ignore[arg-type]
    assert found.train.targets[:, 0].tolist() == pixels
    (tmp_path / "images.csv").write_text(table.replace("3.png", "33.png"), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 4: there is no image file '.*33\.png'"):
        load(NumberStream, tmp_path / "images.csv", image="file", targets="dark")


NUMBERS = [
    ({"price": None}, "price", r"row 3, column 'price': the number is missing; fill it in, or drop the row"),
    ({"price": "nan"}, "price", r"row 3, column 'price': 'nan' is no finite number; correct it, or drop the row"),
    ({"price": "-inf"}, "price", r"row 3, column 'price': '-inf' is no finite number"),
    ({"price": "dear"}, "price", r"row 3, column 'price': 'dear' is no finite number"),
    ({"price": True}, "price", r"row 3, column 'price': True is no finite number"),
    ({"pair": [1, 2, 3]}, "pair", r"row 3, column 'pair': 3 numbers, and row 1 has 2; give every row as many"),
    ({"pair": 1}, "pair", r"row 3, column 'pair': 1 numbers, and row 1 has 2"),
    ({"pair": []}, "pair", r"row 3, column 'pair': the list is empty"),
    ({"price": 1e300}, "price", r"row 3, column 'price': 1e\+300 is beyond 1e\+30, what is learned"),
]


@pytest.mark.odd(
    "a number that is missing, NaN, infinite or a word, or lists of unequal length", "refused with row and column"
)
@pytest.mark.parametrize(("wrong", "column", "said"), NUMBERS, ids=[str(wrong) for wrong, _, _ in NUMBERS])
def test_a_wrong_number_is_named_by_row_and_column(
    wrong: dict[str, object], column: str, said: str, tmp_path: Path
) -> None:
    rows = [*ROWS[:2], {**ROWS[2], **wrong}, *ROWS[3:]]
    with pytest.raises(DataError, match=said) as raised:
        load(NumberStream, lines(tmp_path / "bad.jsonl", rows), targets=column)
    assert "bad.jsonl" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_numbers_of_parquet_may_not_be_nan_either(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"text": ["a", "b"], "price": [1.0, float("nan")]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="row 2, column 'price': nan is no finite number"):
        load(NumberStream, tmp_path / "a.parquet", targets="price")


SETS = [
    ({"topics": None}, {}, "row 3: the labels in column 'topics' are missing; write an empty list for none"),
    ({"topics": "sport"}, {}, "row 3: column 'topics' holds the text 'sport', and lists were expected; set separator"),
    ({"topics": ["sport", ""]}, {}, "row 3: a label in column 'topics' is empty"),
    ({"topics": [["sport"]]}, {}, "row 3: the list in column 'topics' holds"),
    ({"topics": [1.5]}, {}, r"row 3: the list in column 'topics' holds \[1.5\]; labels are names or integers"),
    ({"topics": [True]}, {}, r"row 3: the list in column 'topics' holds \[True\]; labels are names or integers"),
    ({"topics": 7}, {}, "row 3: column 'topics' holds 7; expected a list of labels"),
    ({}, {"label_names": ["sport", "arts"]}, r"row 1: the label 'news' is not one of label_names \(sport, arts\)"),
    ({}, {"label_names": ["sport", "news", "arts"]}, "no training example has the label 'arts'"),
]


@pytest.mark.odd("labels that are missing, empty, or no list where lists are expected", "refused with their row")
@pytest.mark.parametrize(("wrong", "keys", "said"), SETS, ids=[f"{wrong} {keys}" for wrong, keys, _ in SETS])
def test_a_wrong_label_set_is_named(
    wrong: dict[str, object], keys: dict[str, object], said: str, tmp_path: Path
) -> None:
    rows = [*ROWS[:2], {**ROWS[2], **wrong}, *ROWS[3:]]
    with pytest.raises(DataError, match=said):
        load(LabelSetStream, lines(tmp_path / "bad.jsonl", rows), labels="topics", **keys)


@pytest.mark.odd(
    "a task without any label, a separator inside a label's name, flags other than 0 and 1",
    "refused; the line says which",
)
def test_sets_that_no_task_can_learn(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training example has a label in column 'topics'"):
        load(LabelSetStream, lines(tmp_path / "none.jsonl", [{**row, "topics": []} for row in ROWS]), labels="topics")
    with pytest.raises(ValidationError, match="'a;b' has the separator ';' in it"):
        load(LabelSetStream, tmp_path / "x.csv", labels="topics", separator=";", label_names=["a;b", "c"])
    (tmp_path / "x.csv").write_text("text,topics\n" + "\n".join(f"text {n},a;;b" for n in range(5)), encoding="utf-8")
    with pytest.raises(DataError, match="row 1: a label in column 'topics' is empty; a separator stands between two"):
        load(LabelSetStream, tmp_path / "x.csv", labels="topics", separator=";")
    (tmp_path / "y.csv").write_text("text,a,b\n" + "\n".join(f"text {n},1,2" for n in range(5)), encoding="utf-8")
    with pytest.raises(DataError, match="row 1: column 'b' holds '2'; expected 0 or 1"):
        load(LabelSetStream, tmp_path / "y.csv", labels=["a", "b"])
    with pytest.raises(ValidationError, match="labels names a column for each label; leave separator"):
        load(LabelSetStream, tmp_path / "y.csv", labels=["a", "b"], separator=";")
    test = lines(tmp_path / "test.jsonl", [{"text": "new", "topics": ["Sport"]}])
    with pytest.raises(DataError, match=r"'Sport' is not one of the labels of train .*differs from 'sport' in case"):
        load(LabelSetStream, lines(tmp_path / "a.jsonl", ROWS), labels="topics", test=str(test))


def test_labels_may_be_integers(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "topics": [n % 2, 7]} for n in range(20)]
    found = load(LabelSetStream, lines(tmp_path / "a.jsonl", rows), labels="topics")
    assert found.tasks[0].label_names == ("0", "1", "7")
    assert targets(found)["text 3"] == [0.0, 1.0, 1.0]


@pytest.mark.odd("the same targets in another order in scenario=domain", "refused; says that the order differs")
def test_targets_in_another_order(tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "a": n, "b": -n} for n in range(20)]
    path = str(lines(tmp_path / "a.jsonl", rows))
    tasks = [
        {"name": "one", "train": path, "targets": ["a", "b"]},
        {"name": "two", "train": path, "targets": ["b", "a"]},
    ]
    stream = NumberStream.model_validate({"tasks": tasks})
    with pytest.raises(
        DataError, match=r"needs the same labels in one order in every task.*use scenario=task, or give"
    ):
        stream.load().require("domain")


def test_mistakes_are_found_before_a_run(tmp_path: Path) -> None:
    rows = [*ROWS[:2], {**ROWS[2], "price": "dear"}, *ROWS[3:]]
    task = {"name": "t", "train": str(lines(tmp_path / "bad.jsonl", rows)), "targets": "price"}
    given = {"stream": {"kind": "numbers", "tasks": [task]}, "problem": {"kind": "text_regression"}}
    with pytest.raises(ConfigError, match="row 3, column 'price': 'dear' is no finite number"):
        validate(load_config(given))
    with pytest.raises(ConfigError, match=r"stream\.tasks\.0\.train: .*none\.csv does not exist"):
        validate(load_config(given, ["stream.tasks=[{name: t, train: none.csv}]"]))
