"""Two streams of real text that need no download: the docstrings of libraries that are installed anyway.

`DocstringTopics`: which subpackage does this text describe? 5 domains × 6 classes, class-incremental.
`DocstringSkills`: five different questions about the same texts, whose answers the syntax tree knows.

Both read `docstring_corpus.read_corpus` and cut by the hash of the normalised text, so that a docstring of the test
split is in no other split of any task, in any version of the libraries. Masking and cutting can make texts of two
docstrings equal: in one task the second is left out, in another one it stays, and many are near duplicates. A run
counts both (`plora.streams.overlap`).
"""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from plora.streams.base import SPLITS, Split, SplitName, Stream, StreamSource, Task, TextInput, Texts
from plora.streams.docstring_corpus import (
    TOPICS,
    DocumentedObject,
    library_versions,
    read_corpus,
)
from plora.streams.docstring_prose import MASK, first_words, mask, mask_names, words_pattern
from plora.streams.hashing import text_key, unit

TRAIN_SHARE, VALIDATION_SHARE = 0.61, 0.15
"""Shares of the hash range [0, 1); the rest, 0.24, is test."""

Example = tuple[TextInput, int, int]
"""Input, label, and the key in whose order examples are taken."""

Examples = dict[SplitName, list[Example]]

KIND_WORDS = words_pattern(
    (
        *("class", "classes", "subclass", "subclasses", "superclass", "metaclass", "dataclass", "mixin"),
        *("function", "functions", "functional", "functor", "coroutine", "instance", "instances"),
        *("method", "methods", "classmethod", "staticmethod", "constructor"),
    )
)
CALL_ARGUMENTS = re.compile(r"(?<=\w)\([^()]*\)")


class DocstringTopics(StreamSource):
    """Which of 30 subpackages does a docstring describe? Five tasks (libraries) of six classes each.

    The text is the description in the docstring, up to its first section, without doctests, code, formulas
    and markup. Masked in every text: dotted names (`np.asarray`, `scipy.sparse.csr_array`), the names of the
    libraries, and the names of all 30 subpackages with the folders and files they are read from; so the word
    "sparse" or "asyncio" never stands in a text, whatever its label. Other words of the subject stay.
    """

    kind: Literal["docstring_topics"] = "docstring_topics"

    train_per_class: int = Field(default=100, ge=2)
    """Training texts per class; a few small subpackages have less (never below 75 in the tested versions)."""

    validation_per_class: int = Field(default=25, ge=1)
    """Validation texts per class, at most."""

    test_per_class: int = Field(default=40, ge=1)
    """Test texts per class, at most."""

    min_words: int = Field(default=5, ge=1)
    """Texts with fewer words are left out."""

    max_words: int = Field(default=60, ge=1)
    """Texts are cut after so many words."""

    def load(self) -> Stream:
        """Read the five libraries and cut the splits.

        Raises:
            DataError: a library is not installed, or a subpackage has no docstrings.
        """
        caps = dict(zip(SPLITS, (self.train_per_class, self.validation_per_class, self.test_per_class), strict=True))
        objects = objects_by_split(read_corpus())
        tasks = []
        for domain, topics in TOPICS.items():
            names = tuple(f"{domain}.{topic}" for topic in topics)
            examples: Examples = {
                split: [
                    (first_words(item.text, self.max_words), names.index(item.topic), item.key)
                    for item in objects[split]
                    if item.topic in names and len(item.text.split()) >= self.min_words
                ]
                for split in SPLITS
            }
            tasks.append(_task(domain, names, examples, caps))
        return Stream(
            name="docstring topics",
            tasks=tuple(tasks),
            scenarios=("class", "task"),
            provenance=library_versions(),
        )


class DocstringSkills(StreamSource):
    """Five questions about docstrings, a head each; balanced classes. Masked in all: as in `DocstringTopics`.

    - `library`: which of the five libraries? Nothing more is masked: sections, whose style tells, are cut.
    - `kind`: function, method or class? The object's own name, the name of its class, and the words that say
      it (class, method, function, constructor, instance …) are masked.
    - `parameters`: how many parameters does this function or method take: 0, 1, 2, 3 or more? Signatures and
      parameter sections are cut, its own name is masked, the arguments of calls in the text are dropped;
      a parameter that the description mentions stays: reading it is the skill.
    - `match`: does this body belong to this summary (a pair)? A wrong body is that of another object in the
      same file and split; the objects' own names are masked in both; an object alone in its file is left out.
    - `order`: are the words in their order? The first sentence, lower case, without punctuation and masks, as
      it is or with one run of five neighbouring words shuffled (a sentence shuffled as a whole is recognised
      at a glance: a ridge head on frozen features reaches .78).
    """

    kind: Literal["docstring_skills"] = "docstring_skills"

    train_per_task: int = Field(default=1500, ge=10)
    """Training texts per task, all classes together."""

    validation_per_task: int = Field(default=250, ge=10)
    """Validation texts per task, all classes together."""

    test_per_task: int = Field(default=500, ge=10)
    """Test texts per task, all classes together."""

    max_words: int = Field(default=60, ge=10)
    """Texts are cut after so many words; a pair: two fifths for the summary, three fifths for the body."""

    def load(self) -> Stream:
        """Read the five libraries, ask the five questions and cut the splits.

        Raises:
            DataError: a library is not installed.
        """
        objects = objects_by_split(read_corpus())
        sizes = dict(zip(SPLITS, (self.train_per_task, self.validation_per_task, self.test_per_task), strict=True))
        tasks = []
        for name, (label_names, ask) in QUESTIONS.items():
            examples: Examples = {split: list(ask(objects[split], self.max_words)) for split in SPLITS}
            caps = {
                split: min(sizes[split] // len(label_names), _smallest_class(examples[split], len(label_names)))
                for split in SPLITS
            }
            tasks.append(_task(name, label_names, examples, caps))
        return Stream(name="docstring skills", tasks=tuple(tasks), scenarios=("task",), provenance=library_versions())


def objects_by_split(items: Iterable[DocumentedObject]) -> dict[SplitName, list[DocumentedObject]]:
    """Return the objects of each split, by the hash of their texts."""
    placed: dict[SplitName, list[DocumentedObject]] = {split: [] for split in SPLITS}
    for item in items:
        position = unit(item.key)
        held_out: SplitName = "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"
        placed["train" if position < TRAIN_SHARE else held_out].append(item)
    return placed


def _smallest_class(examples: Iterable[Example], num_classes: int) -> int:
    counts = np.bincount([label for _, label, _ in examples], minlength=num_classes)
    return int(counts.min())


def _task(name: str, label_names: tuple[str, ...], examples: Examples, caps: Mapping[SplitName, int]) -> Task:
    """Take at most `caps[split]` examples per class, in the order of a hash, which mixes the classes."""
    seen: set[TextInput] = set()  # masking and cutting can make texts of different splits equal
    splits: dict[SplitName, Split] = {}
    for split in SPLITS:
        taken: list[tuple[TextInput, int]] = []
        counts = [0] * len(label_names)
        for text, label, _ in sorted(examples[split], key=lambda example: text_key(name, salt=str(example[2]))):
            if counts[label] < caps[split] and text not in seen:
                counts[label] += 1
                seen.add(text)
                taken.append((text, label))
        splits[split] = Texts(
            inputs=tuple(text for text, _ in taken),
            labels=np.array([label for _, label in taken], dtype=np.int64),
        )
    return Task(name=name, label_names=label_names, **splits)


def without_names(text: str, *items: DocumentedObject) -> str:
    """Return a text in which names of objects and of their classes are masked."""
    return mask_names(text, (name for item in items for name in (item.name, item.owner)))


def _library(items: Sequence[DocumentedObject], max_words: int) -> Iterable[Example]:
    for item in items:
        if len(item.text.split()) >= MIN_WORDS:
            yield first_words(item.text, max_words), list(TOPICS).index(item.topic.split(".")[0]), item.key


def _kind(items: Sequence[DocumentedObject], max_words: int) -> Iterable[Example]:
    for item in items:
        if len(item.text.split()) >= MIN_WORDS:
            text = mask(without_names(item.text, item), KIND_WORDS)
            yield first_words(text, max_words), KINDS.index(item.kind), item.key


def _parameters(items: Sequence[DocumentedObject], max_words: int) -> Iterable[Example]:
    for item in items:
        if item.parameters is not None and len(item.text.split()) >= 10:
            text = CALL_ARGUMENTS.sub("", without_names(item.text, item))
            yield first_words(text, max_words), min(item.parameters, len(PARAMETER_COUNTS) - 1), item.key


def _match(items: Sequence[DocumentedObject], max_words: int) -> Iterable[Example]:
    by_module: dict[tuple[str, str], list[DocumentedObject]] = defaultdict(list)
    for item in items:
        summary, body = item.paragraphs[0], " ".join(item.paragraphs[1:])
        if len(summary.split()) >= 4 and len(body.split()) >= 6:
            by_module[item.topic, item.module].append(item)
    for group in by_module.values():
        if len(group) < 2:
            continue
        for place, item in enumerate(group):
            matches = place % 2 == 0
            other = item if matches else group[(place + 1) % len(group)]
            summary = without_names(item.paragraphs[0], item, other)
            body = without_names(" ".join(other.paragraphs[1:]), item, other)
            yield (
                (first_words(summary, max_words * 2 // 5), first_words(body, max_words * 3 // 5)),
                int(matches),
                item.key,
            )


def _order(items: Sequence[DocumentedObject], max_words: int) -> Iterable[Example]:
    for item in items:
        sentence = re.split(r"(?<=[.!?])\s", item.paragraphs[0], maxsplit=1)[0]
        stripped = (word.strip("_.,;:!?()[]{}<>\"'/=-") for word in sentence.lower().split())
        words = [word for word in stripped if word and word != MASK][:max_words]
        if len(words) < 8 or len(set(words)) < len(words) - 2:
            continue  # too short, or a list of the same words, where order means little
        in_order = text_key(item.text, salt="order") % 2
        yield (
            " ".join(words if in_order else _shuffle_a_run(words, random.Random(item.key))),
            in_order,
            item.key,
        )


def _shuffle_a_run(words: list[str], generator: random.Random) -> list[str]:
    shuffled = list(words)
    while shuffled == words:
        start = generator.randrange(len(words) - SHUFFLED_RUN + 1)
        run = words[start : start + SHUFFLED_RUN]
        generator.shuffle(run)
        shuffled = words[:start] + run + words[start + SHUFFLED_RUN :]
    return shuffled


KINDS = ("function", "method", "class")
PARAMETER_COUNTS = ("0", "1", "2", "3 or more")
SHUFFLED_RUN = 5
MIN_WORDS = 6

QUESTIONS: dict[str, tuple[tuple[str, ...], Callable[[Sequence[DocumentedObject], int], Iterable[Example]]]] = {
    "library": (tuple(TOPICS), _library),
    "kind": (KINDS, _kind),
    "parameters": (PARAMETER_COUNTS, _parameters),
    "match": (("other", "same"), _match),
    "order": (("shuffled", "in order"), _order),
}
"""Task → its label names, and how its examples are made from the objects of one split."""
