"""Odd sentences with tags."""

import json
from pathlib import Path

import pytest

from plora.errors import DataError
from plora.streams import Stream, Tagged


def one(tmp_path: Path, content: str, name: str = "train.jsonl", **keys: object) -> Stream:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return Tagged.model_validate({"kind": "tagged", "tasks": [{"name": "t", "train": str(path), **keys}]}).load()


def line(words: object, tags: object) -> str:
    return json.dumps({"words": words, "tags": tags}) + "\n"


GOOD = "".join(line(["an", f"ant{n}"], ["O", "B-animal"]) for n in range(12))


@pytest.mark.odd(
    "sentences without a word, and tags I- that follow no word of their type",
    "the sentences are left out and counted; such tags are counted and said, for default and strict F1 differ by them",
)
def test_what_is_left_out_and_what_follows_nothing_is_counted(tmp_path: Path) -> None:
    stream = one(tmp_path, GOOD + line([], []) + line(["ants", "bees"], ["I-animal", "I-animal"]))
    assert stream.notes["rows of t.train"] == "13 of 14 used; left out: without a word: 1"
    assert stream.notes["tags of t"].startswith("1 I- follow no word of their type: entity F1 lets each begin")


@pytest.mark.odd(
    "sentences with tags: lists of unequal length, tags of no or another scheme, numbers that nothing names, words or "
    "tags that are missing or no lists, blank words",
    "refused: file, line, word, and what was expected",
)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (line(["a", "b"], ["O"]), r"line 13: 2 words and 1 tags; every word has one tag"),
        (line(["a"], ["animal"]), r"line 13, word 1: the tag 'animal' is none of O, B-… and I-…"),
        (line(["a"], ["S-animal"]), r"line 13, word 1: the tag 'S-animal' is of another scheme; write entities as B-"),
        (line(["a"], [1]), r"the tag is the number 1, and nothing names it; set tag_names"),
        (line(["a"], [True]), r"word 1: the tag is bool; expected O, B-… or I-…, or its number"),
        (line("a word", ["O"]), r'line 13: the words are str; expected a list of texts, such as \["a", "word"\]'),
        (line(["a", 3], ["O", "O"]), r"the words are a list with int in it"),
        (line(["a"], None), r'line 13: the tags are missing; expected a list, such as \["O", "B-person"\]'),
        (line(["a", " "], ["O", "O"]), r"line 13: word 2 is blank; take it out, and its tag"),
        ('{"tags": ["O"]}\n', r"line 13, has no 'words'; it has: tags"),
        ('{"words": ["a"]}\n', r"line 13, has no 'tags'; it has: words"),
    ],
)
def test_a_sentence_that_cannot_be_used_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as refusal:
        one(tmp_path, GOOD + content)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.odd(
    "columns: a word that stands alone, a tag of no scheme, a file without a word, or without an entity",
    "refused, with file and line",
)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("an O\nant B-animal\n\nbee\n", r"line 4: 'bee' stands alone; a line is a word, its tag last"),
        ("an NN x\n", r"line 1, word 1: the tag 'x' is none of O"),
        ("", r"has no sentence with a word; give one a row"),
        ("an O\n\nthe O\n\na O\n\nb O\n", r"no training sentence has an entity; every tag is O"),
    ],
)
def test_columns_that_cannot_be_used_are_one_line(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        one(tmp_path, content, "train.conll")


@pytest.mark.odd(
    "numbers of tags out of range, types that test alone has, files of other kinds",
    "refused, with the names, the types, or the kinds that are read",
)
def test_numbers_out_of_range_types_of_test_alone_and_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the tag is 3, and there are 2 names \(0 to 1\)"):
        one(tmp_path, line(["a"], [3]), tag_names=["O", "B-x"])
    test = tmp_path / "test.jsonl"
    test.write_text(line(["gold"], ["B-metal"]), encoding="utf-8")
    with pytest.raises(DataError, match=r"type 'metal' appears in test but never in train \(animal\)"):
        one(tmp_path, GOOD, test=str(test))
    with pytest.raises(DataError, match=r"ends in '\.csv'; sentences with tags stand in \.jsonl, \.parquet"):
        one(tmp_path, GOOD, "train.csv")
    with pytest.raises(DataError, match=r"there is no file '.*trian\.jsonl'"):
        Tagged.model_validate({"tasks": [{"name": "t", "train": str(tmp_path / "trian.jsonl")}]}).load()
