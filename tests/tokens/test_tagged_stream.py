"""Sentences with tags from files: what they become, the steps in which types arrive, and what is said of mistakes."""

from pathlib import Path

import pytest
from tiny_sentences import MORE, TYPES, stream_values, tagged, write_sentences

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.runs import validate
from plora.streams import Stream, Tagged, TaggedSentences


def load(tmp_path: Path, **settings: object) -> Stream:
    return Tagged.model_validate(stream_values(tmp_path) | settings).load()


def test_columns_and_json_lines_are_the_same_sentences(tmp_path: Path) -> None:
    sentences = tagged(TYPES, 12, 0)
    files = [write_sentences(tmp_path / f"train{ending}", sentences) for ending in (".conll", ".jsonl")]
    found = [Tagged.model_validate({"tasks": [{"name": "t", "train": file}]}).load().tasks[0] for file in files]
    assert found[0].fingerprints() == found[1].fingerprints()
    assert found[0].label_names == ("O", "B-animal", "I-animal", "B-metal", "I-metal")
    assert [len(split) for _, split in found[0].splits()] == [9, 1, 2]
    read = {words: tags for _, s in found[0].splits() for words, tags in zip(s.sentences, s.tags, strict=True)}
    names = found[0].label_names
    assert {words: [names[tag] for tag in tags] for words, tags in read.items()} == {tuple(w): t for w, t in sentences}


def test_a_copy_of_the_hub_names_its_numbers(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-animal", "I-animal"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    rows = {"tokens": [["an", f"ant{n}"] for n in range(8)], "ner_tags": [[0, 1]] * 8}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "train.parquet"))
    task = {"name": "t", "train": str(tmp_path / "train.parquet"), "words": "tokens", "tags": "ner_tags"}
    stream = Tagged.model_validate({"tasks": [task]}).load()
    assert stream.tasks[0].label_names == tuple(names)
    assert stream.tasks[0].train.tags[0] == (0, 1)


def test_types_of_tasks_arrive_under_one_outside(tmp_path: Path) -> None:
    stream = load(tmp_path, increment="task")
    first, second = stream.tasks
    assert stream.scenarios == ("class",)
    assert first.label_names == ("O", "B-animal", "I-animal", "B-metal", "I-metal")
    assert second.label_names == ("B-fruit", "I-fruit", "B-sea", "I-sea")
    assert isinstance(second.train, TaggedSentences)
    assert second.train.tag_names == first.label_names + second.label_names
    assert {tag for tags in second.train.tags for tag in tags} == {0, 5, 6, 7, 8}


def test_steps_of_types_hide_what_others_mark(tmp_path: Path) -> None:
    both = tagged(TYPES | MORE, 80, 3)
    file = write_sentences(tmp_path / "all.jsonl", both)
    values = {
        "tasks": [{"name": "all", "train": file}],
        "increment": 2,
        "class_order": ["sea", "metal", "fruit", "animal"],
    }
    stream = Tagged.model_validate(values).load()
    assert [task.label_names for task in stream.tasks] == [
        ("O", "B-sea", "I-sea", "B-metal", "I-metal"),
        ("B-fruit", "I-fruit", "B-animal", "I-animal"),
    ]
    first, second = stream.tasks
    assert {tag for tags in second.train.tags for tag in tags} == {0, 5, 6, 7, 8}
    assert max(tag for tags in first.train.tags for tag in tags) == 4
    assert max(tag for tags in first.test.tags for tag in tags) > 4  # test sentences have all
    tested = [set(task.test.sentences) for task in stream.tasks]
    assert not tested[0] & tested[1]
    assert "sea, metal" in stream.notes["steps of types"]
    bare = [(["the", "old", f"one{number}"], ["O"] * 3) for number in range(9)]
    test = {"name": "all", "train": file, "test": write_sentences(tmp_path / "test.jsonl", both[:21] + bare)}
    every = Tagged.model_validate(values | {"tasks": [test]}).load()
    assert [len(task.test) for task in every.tasks] == [15, 15]  # what has no entity is tested, too
    apart = Tagged.model_validate(values | {"protocol": "disjoint"}).load()
    assert len(apart.tasks[0].train) < len(first.train)


def test_settings_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="protocol: of steps of types; set increment to a number"):
        Tagged.model_validate(stream_values(tmp_path) | {"protocol": "disjoint"})
    with pytest.raises(ValueError, match="'t' has neither train nor hub"):
        Tagged.model_validate({"tasks": [{"name": "t"}]})
    with pytest.raises(ValueError, match="'t' has hub and train"):
        Tagged.model_validate({"tasks": [{"name": "t", "train": "a.jsonl", "hub": {"id": "a/b"}}]})
    file = write_sentences(tmp_path / "a.jsonl", tagged(TYPES, 12, 0))
    both = Tagged.model_validate({"tasks": [{"name": n, "train": file} for n in "ab"], "increment": "task"})
    with pytest.raises(DataError, match="type 'animal' is in both 'a' and 'b'"):
        both.load()


def test_validate_reads_the_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"words": ["a"], "tags": ["x"]}\n', encoding="utf-8")
    stream = {"kind": "tagged", "tasks": [{"name": "t", "train": str(bad)}]}
    config = load_config({"name": "n", "stream": stream, "problem": {"kind": "token_classification"}})
    with pytest.raises(ConfigError, match="the tag 'x' is none of O"):
        validate(config)
