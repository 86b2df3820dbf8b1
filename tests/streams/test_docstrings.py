import numpy as np
import pytest

from plora.errors import DataError
from plora.streams import docstrings
from plora.streams.base import Stream
from plora.streams.docstring_corpus import TOPIC_NAMES, DocumentedObject
from plora.streams.docstrings import DocstringSkills, DocstringTopics
from plora.streams.text_to_text import TextToText


@pytest.fixture
def _read_once(corpus: list[DocumentedObject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "read_corpus", lambda: corpus)


@pytest.fixture
def topics(_read_once: None) -> Stream:
    return DocstringTopics().load()


@pytest.fixture
def skills(_read_once: None) -> Stream:
    return DocstringSkills().load()


def _no_text_in_two_splits(stream: Stream) -> None:
    for task in stream.tasks:
        texts = [text for _, split in task.splits() for text in split.inputs]
        assert len(texts) == len(set(texts)), task.name


def test_topics(topics: Stream) -> None:
    assert [name for task in topics.tasks for name in task.label_names] == list(TOPIC_NAMES)
    topics.require("class")
    topics.require("task")
    with pytest.raises(DataError, match="no domain-incremental form"):
        topics.require("domain")
    _no_text_in_two_splits(topics)
    for task in topics.tasks:
        assert np.bincount(task.train.labels).min() >= 75
        assert np.bincount(task.train.labels).max() == 100
        assert np.bincount(task.validation.labels).min() >= 15
        assert np.bincount(task.test.labels).min() >= 30
        assert max(len(str(text).split()) for text in task.train.inputs) <= 60


def test_sizes_and_versions_are_in_the_stream(topics: Stream) -> None:
    assert set(topics.provenance) == {"python", "scipy", "sympy", "scikit-learn", "torch"}
    small = DocstringTopics(train_per_class=5, validation_per_class=2, test_per_class=3).load()
    assert [len(split) for _, split in small.tasks[0].splits()] == [30, 12, 18]
    # A smaller stream is a part of the larger one, so results of both can be compared.
    assert set(small.tasks[0].train.inputs) <= set(topics.tasks[0].train.inputs)


def test_same_data_every_time(topics: Stream, skills: Stream) -> None:
    assert DocstringTopics().load().fingerprint() == topics.fingerprint()
    assert DocstringSkills().load().fingerprint() == skills.fingerprint()


def test_skills(skills: Stream) -> None:
    assert [task.name for task in skills.tasks] == ["library", "kind", "parameters", "match", "order"]
    assert skills.scenarios == ("task",)
    _no_text_in_two_splits(skills)
    for task in skills.tasks:
        for (_, split), size in zip(task.splits(), (1500, 250, 500), strict=True):
            counts = np.bincount(split.labels)
            assert counts.max() - counts.min() <= 2
            assert size - len(task.label_names) <= len(split) <= size


def test_questions_do_not_tell_their_answers(skills: Stream) -> None:
    tasks = {task.name: task for task in skills.tasks}
    words = {word.lower() for text in tasks["kind"].train.inputs for word in str(text).split()}
    assert words.isdisjoint({"class", "function", "method", "subclass"})
    assert all(isinstance(text, tuple) and len(text) == 2 for text in tasks["match"].train.inputs)
    # Shuffled or not, a text has the same kind of words: lower case, no stops.
    assert all(str(text) == str(text).lower() and str(text)[-1] != "." for text in tasks["order"].train.inputs)


def test_a_text_of_the_test_split_is_in_the_test_split_of_every_task(corpus: list[DocumentedObject]) -> None:
    by_split = docstrings.objects_by_split(corpus)
    shares = [len(by_split[split]) / len(corpus) for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.61, 0.15, 0.24], abs=0.02)
    assert sum(map(len, by_split.values())) == len(corpus)


def test_topics_are_asked_for_in_words(topics: Stream) -> None:
    small = {"kind": "docstring_topics", "train_per_class": 2, "validation_per_class": 1, "test_per_class": 1}
    stream = TextToText.model_validate(
        {"kind": "text_to_text", "of": small, "prompt": "{text} Which? {options}"}
    ).load()
    for task, plain in zip(stream.tasks, topics.tasks, strict=True):
        for (_, prompt), (_, answer) in (asked.messages for asked in task.train.read(np.arange(len(task.train)))):
            assert prompt.endswith(" Which? " + ", ".join(plain.label_names))
            assert answer.strip() in plain.label_names
