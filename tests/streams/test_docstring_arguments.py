"""Arguments in descriptions: which words are marked, and that no text stands in two splits."""

import pytest

from plora.streams import DocstringArguments, TaggedSentences
from plora.streams import docstring_corpus as corpus
from plora.streams.docstring_corpus import DocumentedObject


def test_names_of_arguments_are_marked_and_letters_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def item(number: int, topic: str) -> DocumentedObject:
        text = f"Fit a model number{number} to data, where a weight is in weights."
        return DocumentedObject(topic, "m.py", "fit", "", "function", ("a", "data", "weights"), (text,), number << 58)

    topics = [f"{domain}.{next(iter(own))}" for domain, own in corpus.TOPICS.items()]
    objects = [item(number, topic) for topic in topics for number in range(64)]
    monkeypatch.setattr(corpus, "read_corpus", lambda: objects)
    stream = DocstringArguments().load()
    assert [task.name for task in stream.tasks] == [*corpus.TOPICS]
    assert stream.tasks[0].label_names == ("O", "B-argument", "I-argument")
    train, test = stream.tasks[0].train, stream.tasks[0].test
    assert isinstance(train, TaggedSentences)
    assert isinstance(test, TaggedSentences)
    said = [word for word, tag in zip(train.sentences[0], train.tags[0], strict=True) if tag]
    assert said == ["data", "weights"]
    assert not {*train.sentences} & {*test.sentences}


def test_real_libraries_have_sentences_for_every_task() -> None:
    stream = DocstringArguments(train_per_task=20, validation_per_task=10, test_per_task=20).load()
    assert all(len(split) >= 10 for task in stream.tasks for _, split in task.splits())
