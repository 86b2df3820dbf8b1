"""Documents with answers: from columns, conversations, and the classes of other streams."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from plora.config import load_config
from plora.errors import ConfigError, DataError
from plora.runs.validating import validate
from plora.streams import STREAMS, Corpora, Stream, TextToText
from plora.streams.dialogues import Dialogue
from plora.streams.documents import Documents
from plora.streams.domains import Domain

CHAT = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as JSON lines, or as parquet, by the ending."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def load(*domains: object, **more: object) -> Stream:
    return Corpora.model_validate(
        {"domains": [*domains], "validation_fraction": 0.2, "test_fraction": 0.2, **more}
    ).load()


def documents(stream: Stream, task: int = 0) -> set[object]:
    """All of a task."""
    return {text for _, split in stream.tasks[task].splits() if isinstance(split, Documents) for text in split.texts}


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_columns_are_prompts_and_answers(tmp_path: Path, ending: str) -> None:
    sums = [{"a": str(n), "question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(40)]
    path = write(tmp_path / f"sums.{ending}", [*sums, sums[3], {"a": "7", "question": "?", "answer": " "}])
    stream = load({"name": "sums", "path": str(path), "prompt": "question", "answer": "answer"})
    # Questions that differ in nothing but a number are different ones, and may stand in different splits.
    assert documents(stream) == {Dialogue.asked(f"{n} + 1 = ?", str(n + 1)) for n in range(40)}
    assert stream.rows["sums"].left_out == {"without an answer": 1, "the same letters as another document": 1}
    assert stream.rows["sums"].used == 40
    written = load({"name": "sums", "path": str(path), "prompt": "{a}: {question}\nAnswer:", "answer": " {answer}"})
    assert Dialogue.asked("5: 5 + 1 = ?\nAnswer:", " 6") in documents(written)
    assert len(documents(written)) == 40
    assert stream.fingerprint() != written.fingerprint()


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_messages_are_conversations(tmp_path: Path, ending: str) -> None:
    chats = [[{"role": "system", "content": f"be {n}"}, *CHAT, CHAT[0], CHAT[1]] for n in range(30)]
    path = write(tmp_path / f"chats.{ending}", [*({"chat": chat} for chat in chats), {"chat": CHAT[:1]}])
    stream = load({"name": "chats", "path": str(path), "messages": "chat"})
    own = (("user", "1 + 1?"), ("assistant", "2"))
    assert documents(stream) == {Dialogue((("system", f"be {n}"), *own, *own)) for n in range(30)}
    assert stream.rows["chats"].left_out == {"without an answer": 1}
    splits = [split.texts for _, split in stream.tasks[0].splits() if isinstance(split, Documents)]
    assert [bool(texts) for texts in splits] == [True] * 3


def test_conversations_of_the_hub_keep_their_splits(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "hub" / "me" / "chats"
    folder.mkdir(parents=True)
    for split, numbers in (("train", range(40)), ("test", range(35, 45))):
        rows = [{"messages": [{"role": "user", "content": f"{n}?"}, CHAT[1]]} for n in numbers]
        write(folder / f"{split}.parquet", [*rows, {"messages": CHAT[:1]}])
    domain = {"name": "chats", "hub": {"id": "me/chats"}, "messages": "messages"}
    stream = load(domain, root=tmp_path / "hub", cache=tmp_path / "cache")
    test = stream.tasks[0].test
    assert isinstance(test, Documents)
    assert {*test.texts} == {Dialogue.asked(f"{n}?", "2") for n in range(35, 45)}
    assert documents(stream) == {Dialogue.asked(f"{n}?", "2") for n in range(45)}
    assert stream.rows["chats"].left_out["without an answer"] == 2


def test_domains_of_texts_and_of_answers_stand_side_by_side(tmp_path: Path) -> None:
    asked = write(tmp_path / "a.jsonl", [{"p": f"question {n}", "a": f"answer {n}"} for n in range(30)])
    plain = write(tmp_path / "t.jsonl", [{"text": f"{'abcdefghij'[n % 10] * (n + 2)} is a text"} for n in range(30)])
    domains = (
        {"name": "asked", "path": str(asked), "prompt": "p", "answer": "a"},
        {"name": "plain", "path": str(plain)},
    )
    together = load(*domains, base=["asked", "plain"], part="base", base_fraction=0.9)
    kinds = {type(text) for text in documents(together)}
    assert kinds == {str, Dialogue}
    capped = load(*domains, train_bytes=60)
    train = capped.tasks[0].train
    assert isinstance(train, Documents)
    assert 30 < sum(len(text.content) for text in train.texts if isinstance(text, Dialogue)) <= 60


@pytest.mark.parametrize(
    ("rows", "domain", "says"),
    [
        ([{"p": "x", "a": "y"}], {"prompt": "p", "answer": "b"}, "has no column 'b'; its columns are: p, a"),
        ([{"p": "x", "a": "y"}], {"prompt": "{q} x", "answer": "a"}, "has no column 'q'"),
        ([{"p": None, "a": "y"}], {"prompt": "p", "answer": "a"}, "row 1: the text in 'p' is missing"),
        ([{"m": CHAT}], {"messages": "messages"}, "line 1, has no 'messages'; it has: m"),
        ([{"m": "hi"}], {"messages": "m"}, r"row 1: 'm' holds str; expected messages: \[\{\"role\": \"user\""),
        ([{"m": CHAT}, {"m": []}], {"messages": "m"}, "row 2: 'm' holds an empty list"),
        ([{"m": [{"from": "human", "value": "x"}]}], {"messages": "m"}, r"message 1 has no .* \['from', 'value'\]"),
        ([{"m": [{"role": "human", "content": "x"}]}], {"messages": "m"}, "role 'human'; expected one of system, user"),
        ([{"m": [*CHAT, {"role": "user", "content": ["x"]}]}], {"messages": "m"}, "message 3 has no text as role and"),
    ],
)
def test_rows_that_hold_something_else_are_named(
    tmp_path: Path, rows: list[dict[str, Any]], domain: dict[str, str], says: str
) -> None:
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=says):
        load({"name": "d", "path": str(path), **domain})


def test_files_that_hold_no_answers_are_named(tmp_path: Path) -> None:
    (tmp_path / "chats.csv").write_text("m\nx\n")
    for name, says in (("chats.csv", "lists of messages stand in .jsonl or .parquet"), ("chat.csv", "did you mean")):
        with pytest.raises(DataError, match=says):
            load({"name": "d", "path": str(tmp_path / name), "messages": "m"})


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"path": "x", "prompt": "p"}, "give both prompt and answer, or messages, or none"),
        ({"path": "x", "prompt": "p", "answer": "a", "messages": "m"}, "give both prompt and answer, or messages"),
        ({"docstrings": "numpy", "messages": "m"}, "has answers, which are learned without docstrings"),
        ({"path": "x", "messages": "m", "paragraphs": True}, "learned without paragraphs"),
        ({"path": "x", "messages": "m", "text": "body"}, "learned without text"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(more: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Domain.model_validate({"name": "d", **more})
    whole = Domain.model_validate({"name": "d", "path": "x", "messages": "m"})
    assert Domain.model_validate(whole.model_dump(mode="json")) == whole  # as a run's config has it


def table(folder: Path, name: str, classes: tuple[str, ...]) -> dict[str, object]:
    rows = [{"text": f"{name} {label} {n}", "label": label} for n in range(20) for label in classes]
    return {"name": name, "train": str(write(folder / f"{name}.jsonl", rows)), "label_names": [*classes]}


def test_classes_are_named_in_words(tmp_path: Path) -> None:
    assert STREAMS["text_to_text"] is TextToText
    of = {"kind": "local", "tasks": [table(tmp_path, "sky", ("sun", "rain")), table(tmp_path, "sea", ("calm", "wild"))]}
    stream = TextToText.model_validate({"of": of}).load()
    assert stream.scenarios == ("task", "domain")
    assert [task.label_names for task in stream.tasks] == [(), ()]
    assert Dialogue.asked("sky rain 3\nOption: sun, rain\nAnswer:", " rain") in documents(stream)
    assert len(documents(stream, 1)) == 40
    prompts = {"sky": "{task}? {text}", "sea": "{options}? {text}"}
    other = TextToText.model_validate({"of": of, "prompt": prompts, "answer": "{label}!"}).load()
    assert Dialogue.asked("sky? sky sun 0", "sun!") in documents(other)
    assert Dialogue.asked("calm, wild? sea wild 1", "wild!") in documents(other, 1)
    for more, says in (
        ({"prompt": {"sky": "{text}"}}, "prompt: got one for sky; expected one for each of sky, sea"),
        ({"prompt": "{texts}"}, r"has \{texts\} in it, which is none of \{text\}, \{options\}, \{task\}"),
        ({"prompt": "{task}"}, r"has no \{text\} in it"),
        ({"answer": "yes"}, r"'yes' has no \{label\}"),
    ):
        with pytest.raises(ValidationError, match=says):
            TextToText.model_validate({"of": of, **more})
    pairs = {**table(tmp_path, "pair", ("x", "y")), "text": ["text", "label"]}
    with pytest.raises(DataError, match="task 'pair' has pairs of texts; set join"):
        TextToText.model_validate({"of": {"kind": "local", "tasks": [pairs]}}).load()


def test_files_of_classes_in_words_are_read_by_validate(tmp_path: Path) -> None:
    of = {"kind": "local", "tasks": [table(tmp_path, "sky", ("sun", "rain"))]}
    values = {"stream": {"kind": "text_to_text", "of": of}, "problem": {"kind": "causal_lm"}, "scenario": "domain"}
    validate(load_config(values))
    write(tmp_path / "sky.jsonl", [{"text": f"x {n}", "label": "sun"} for n in range(20)])
    with pytest.raises(ConfigError, match=r"stream: task 'sky': every training example has the label 'sun'"):
        validate(load_config(values))
