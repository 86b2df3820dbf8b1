from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from plora.errors import DataError
from plora.streams.base import Task
from plora.streams.columns import TableTask
from plora.streams.local import LocalStream, LocalTask
from plora.streams.source import Source
from plora.streams.table import task_from_tables

WORDS = ("red", "green", "blue", "round", "flat", "old")


def table(texts: list[str], labels: list[str] | list[int]) -> Source:
    return Source(pa.table({"text": texts, "label": labels}), "'rows'")


def rows(count: int, classes: int = 2) -> Source:
    return table([f"{WORDS[i % 6]} text {i}" for i in range(count)], [f"c{i % classes}" for i in range(count)])


def cut(
    train: Source,
    columns: TableTask | None = None,
    validation: Source | None = None,
    test: Source | None = None,
    **caps: float | bool,
) -> Task:
    local = LocalTask(name="unused", train=Path("unused"))
    stream = LocalStream(tasks=(local,), **caps)  # type: ignore[arg-type]
    return task_from_tables("t", columns or TableTask(), stream, train, validation, test)[0]


def members(task: Task) -> dict[str, set[object]]:
    return {name: set(split.inputs) for name, split in task.splits()}


def test_sizes_are_exact_and_stratified() -> None:
    task = cut(rows(200), validation_fraction=0.1, test_fraction=0.2)
    assert [np.bincount(split.labels).tolist() for _, split in task.splits()] == [[72, 72], [8, 8], [20, 20]]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(60)), st.integers(2, 4))
def test_splits_do_not_depend_on_the_order_of_the_rows(order: list[int], classes: int) -> None:
    source = rows(60, classes)
    shuffled = Source(source.table.take(pa.array(order)), source.where)
    caps = {"train_per_class": 9, "validation_per_class": 2, "test_per_class": 3}
    assert members(cut(source, **caps)) == members(cut(shuffled, **caps))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ab")), min_size=30, max_size=60))
def test_equal_texts_are_never_in_two_splits(drawn: list[tuple[int, str]]) -> None:
    drawn += [(100 + i, "ab"[i % 2]) for i in range(20)]  # enough different texts in both classes
    task = cut(table([f"text {n}" for n, _ in drawn], [label for _, label in drawn]))
    seen = members(task)
    assert seen["train"].isdisjoint(seen["validation"] | seen["test"])
    assert seen["validation"].isdisjoint(seen["test"])
    assert sum(len(split) for _, split in task.splits()) == len(drawn)


def test_rows_stay_in_file_order() -> None:
    task = cut(rows(50))
    numbers = [int(str(text).split()[-1]) for text in task.train.inputs]
    assert numbers == sorted(numbers)


def test_caps_and_the_validation_that_goes_with_them() -> None:
    task = cut(rows(400), test=rows(40), train_per_class=50, test_per_class=7)
    assert [np.bincount(split.labels).tolist() for _, split in task.splits()] == [[50, 50], [5, 5], [7, 7]]


def test_a_number_that_is_asked_for_is_cut_and_not_the_fraction_of_the_cap() -> None:
    caps = {"train_per_class": 30, "validation_per_class": 10, "test_per_class": 15}
    task = cut(rows(400), **caps)
    assert [np.bincount(split.labels).tolist() for _, split in task.splits()] == [[30, 30], [10, 10], [15, 15]]
    greedy = cut(rows(40), validation_per_class=1000, test_per_class=1000)
    assert [np.bincount(split.labels).tolist() for _, split in greedy.splits()] == [[5, 5], [5, 5], [10, 10]]


def test_a_larger_cap_keeps_the_rows_of_the_smaller() -> None:
    small, large = (cut(rows(400), test=rows(40), train_per_class=cap) for cap in (20, 60))
    assert set(small.test.inputs) <= set(large.test.inputs)
    assert len(set(small.train.inputs) & set(large.train.inputs)) >= 16


def test_given_splits_are_used_as_they_are() -> None:
    task = cut(rows(40), validation=rows(10), test=rows(20))
    assert [len(split) for _, split in task.splits()] == [40, 10, 20]


def test_integer_labels_sort_as_numbers() -> None:
    labels = [i % 11 for i in range(110)]
    assert cut(table([str(i) for i in range(110)], labels)).label_names == tuple(map(str, range(11)))


def test_equal_numbers_have_an_order_too() -> None:
    labels = [["1", "01", "001"][i % 3] for i in range(60)]
    assert cut(table([str(i) for i in range(60)], labels)).label_names == ("001", "01", "1")


def test_integer_labels_with_names() -> None:
    source = table(["a b", "c d", "e f", "g h", "i j", "k l"], [0, 1, 0, 1, 0, 1])
    task = cut(source, TableTask(label_names=("bad", "good")), test=source, validation=source)
    assert task.label_names == ("bad", "good")
    assert task.train.labels.tolist() == [0, 1, 0, 1, 0, 1]


def test_label_names_give_the_order_of_named_labels() -> None:
    source = table(["a", "b", "c", "d"], ["no", "yes", "no", "yes"])
    task = cut(source, TableTask(label_names=("yes", "no")), test=source, validation=source)
    assert task.train.labels.tolist() == [1, 0, 1, 0]


def test_label_names_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("bad\n\ngood\n")
    source = table(["a", "b"], [0, 1])
    columns = TableTask(label_names=str(tmp_path / "labels.txt"))
    assert cut(source, columns, test=source, validation=source).label_names == ("bad", "good")
    with pytest.raises(DataError, match=r"there is no file '.*nowhere.txt'; give a list"):
        cut(source, TableTask(label_names=str(tmp_path / "nowhere.txt")))


def test_five_stars_to_two_polarities() -> None:
    source = table([f"text {i}" for i in range(10)], [i % 5 + 1 for i in range(10)])
    mapping: dict[str | int, str | int | None] = {1: "bad", 2: "bad", 3: None, 4: "good", 5: "good"}
    task = cut(source, TableTask(map=mapping), test=source, validation=source)
    assert task.label_names == ("bad", "good")
    assert task.train.labels.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert "text 2" not in task.train.inputs


def test_distinct_labels() -> None:
    assert cut(rows(20), distinct_labels=True).label_names == ("t: c0", "t: c1")


def test_pairs_and_joined_columns() -> None:
    source = Source(pa.table({"a": ["x", "y", None], "b": ["1", "", "3"], "label": ["p", "q", "p"]}), "'rows'")
    joined = cut(source, TableTask(text=("a", "b"), join=". "), test=source, validation=source)
    assert joined.train.inputs == ("x. 1", "y", "3")
    with pytest.raises(DataError, match="'rows', row 3: the text in 'a' and 'b' is missing"):
        cut(source, TableTask(text=("a", "b")), test=source, validation=source)
    source = Source(source.table.slice(0, 2), "'rows'")
    assert cut(source, TableTask(text=("a", "b")), test=source, validation=source).train.inputs == (
        ("x", "1"),
        ("y", ""),
    )


def test_empty_long_and_foreign_texts_are_texts() -> None:
    texts = ["", "   ", "🦊🌍", "שלום עולם", "x" * 100_000, "end"]
    source = table(texts, ["a", "b"] * 3)
    assert cut(source, test=source, validation=source).train.inputs == tuple(texts)


def test_dictionary_columns_are_texts() -> None:
    source = Source(pa.table({"text": pa.array(["a", "b"]).dictionary_encode(), "label": ["p", "q"]}), "'rows'")
    assert cut(source, test=source, validation=source).train.inputs == ("a", "b")


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ({"text": ["a"], "labels": ["p"]}, {}, "'rows' has no column 'label'; .* text, labels; did you mean"),
        ({"text": ["a", None], "label": ["p", "q"]}, {}, "row 2: the text in 'text' is missing"),
        ({"text": ["a", "b"], "label": ["p", None]}, {}, "row 2: the label in column 'label' is missing"),
        ({"text": ["a", "b"], "label": ["p", ""]}, {}, "row 2: the label in column 'label' is missing"),
        ({"text": ["a", "b"], "label": [0.5, 1.0]}, {}, "row 1: the label 0.5 in 'label' is a fraction"),
        ({"text": ["a", "b"], "label": [["p"], ["q"]]}, {}, "column 'label' holds list"),
        ({"text": ["a", "b"], "label": [1.0, float("nan")]}, {}, "row 2: the label in column 'label' is missing"),
        ({"text": ["a", "b"], "label": [date(2001, 1, 1)] * 2}, {}, "column 'label' holds date32"),
        (
            {"text": ["a", "b"], "label": ["9" * 5000, "1"]},
            {"label_names": ("p", "q")},
            "is not one of the 2 label_names",
        ),
        ({"text": [1, 2], "label": ["p", "q"]}, {}, "column 'text' holds int64, but texts were expected"),
        ({"text": [], "label": []}, {}, "'rows' has no rows"),
        (
            {"text": ["a", "b"], "label": [0, 7]},
            {"label_names": ("p", "q")},
            "row 2: the label '7' .* .0 to 1",
        ),
        (
            {"text": ["a", "b"], "label": ["p", "x"]},
            {"label_names": ("p", "q")},
            "row 2: the label 'x' .* .p, q",
        ),
        ({"text": ["a", "b"], "label": ["p", "q"]}, {"label_names": ("p", "p")}, "must be different"),
        ({"text": ["a", "b"], "label": ["p", "q"]}, {"map": {"p": "r"}}, "the label 'q' is not in map .p.;"),
        ({"text": ["a", "b", "c"], "label": ["p", "p", "p"]}, {}, "every training example has the label 'p'"),
        ({"text": ["a", "b"], "label": ["p", "q"]}, {"map": {"p": None, "q": None}}, "map drops every row"),
        ({"text": pa.array([b"\xff", b"b"]).view(pa.string()), "label": ["p", "q"]}, {}, "is not UTF-8 text"),
    ],
)
def test_mistakes_are_one_clear_line(
    content: dict[str, list[object]], columns: dict[str, object], message: str
) -> None:
    source = Source(pa.table(content), "'rows'")
    with pytest.raises(DataError, match=message) as caught:
        cut(source, TableTask.model_validate(columns), test=source, validation=source)
    assert "\n" not in str(caught.value)


def test_a_label_only_in_test() -> None:
    with pytest.raises(DataError, match="label 'z' appears in test but never in train"):
        cut(rows(20), test=table(["a", "b"], ["c0", "z"]))


@pytest.mark.parametrize("columns", [{"text": []}, {"text": ["a", "a"]}, {"text": ["a", "b", "c"]}, {"texts": "a"}])
def test_columns_that_make_no_sense(columns: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TableTask.model_validate(columns)
