"""Two more streams of docstrings, read as in `docstrings`: how many parameters there are, and all that is true of one.

`DocstringParameters` asks for a number, `DocstringLabels` for any number of labels; five tasks (libraries) each.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from plora.streams.base import SPLITS, Scenario, Split, Stream, StreamSource, Task, Texts
from plora.streams.docstring_corpus import TOPICS, DocumentedObject, library_versions, read_corpus
from plora.streams.docstring_prose import first_words, mask
from plora.streams.docstrings import CALL_ARGUMENTS, KIND_WORDS, KINDS, objects_by_split, without_names
from plora.streams.hashing import text_key
from plora.streams.targeted import LabelSets, Numbers, Targeted

Asked = tuple[str, list[float], int]
"""Text, targets, and the key in whose order examples are taken."""
_FEWEST_WORDS = 10


class DocstringTargets(StreamSource):
    """What the two have in common: one task for each library, and how many texts it has."""

    train_per_task: int = Field(default=300, ge=10)
    """Training texts per task, at most."""

    validation_per_task: int = Field(default=100, ge=10)
    """Validation texts per task, at most."""

    test_per_task: int = Field(default=150, ge=10)
    """Test texts per task, at most."""

    max_words: int = Field(default=60, ge=10)
    """Texts are cut after so many words."""

    title: ClassVar[str]
    """Of the stream."""

    scenarios: ClassVar[tuple[Scenario, ...]]
    """That make sense."""

    split: ClassVar[type[Targeted]]
    """What the targets are."""

    def load(self) -> Stream:
        """Read the five libraries and cut the splits.

        Raises:
            DataError: a library is not installed.
        """
        objects = objects_by_split(read_corpus())
        caps = dict(zip(SPLITS, (self.train_per_task, self.validation_per_task, self.test_per_task), strict=True))
        tasks = []
        for library in TOPICS:
            seen: set[str] = set()  # masking and cutting can make texts of different splits equal
            splits: dict[str, Split] = {}
            for split in SPLITS:
                own = [item for item in objects[split] if item.topic.split(".")[0] == library]
                taken: list[Asked] = []
                for asked in sorted(self.ask(library, own), key=lambda one: text_key(library, salt=str(one[2]))):
                    if len(taken) < caps[split] and asked[0] not in seen:
                        seen.add(asked[0])
                        taken.append(asked)
                texts = Texts(tuple(text for text, _, _ in taken), np.zeros(len(taken), np.int64))
                splits[split] = self.split(texts, np.array([targets for _, targets, _ in taken], np.float64))
            tasks.append(Task(library, self.names(library), **splits))
        return Stream(self.title, tuple(tasks), self.scenarios, library_versions())

    @abstractmethod
    def names(self, library: str) -> tuple[str, ...]:
        """Return the name of each target of a task."""

    @abstractmethod
    def ask(self, library: str, objects: Sequence[DocumentedObject]) -> Iterator[Asked]:
        """Yield texts and targets of the objects of one split."""


class DocstringParameters(DocstringTargets):
    """How many parameters does a documented function or method take? A number for each text, five tasks (libraries).

    Masked and cut as `parameters` of `DocstringSkills`; the number is as it is, however large.
    """

    kind: Literal["docstring_parameters"] = "docstring_parameters"

    title = "docstring parameters"
    scenarios = ("task", "domain")
    split = Numbers

    def names(self, library: str) -> tuple[str, ...]:
        """Return the only one."""
        return ("parameters",)

    def ask(self, library: str, objects: Sequence[DocumentedObject]) -> Iterator[Asked]:
        """Yield functions and methods."""
        for item in objects:
            if item.parameters is not None and len(item.text.split()) >= _FEWEST_WORDS:
                text = CALL_ARGUMENTS.sub("", without_names(item.text, item))
                yield first_words(text, self.max_words), [item.parameters], item.key


class DocstringLabels(DocstringTargets):
    """All that is true of a docstring: which of six subpackages it is of, function, method or class, and whether it
    takes parameters; two or three labels for each text, five tasks (libraries).

    Masked as `DocstringTopics` and `kind` of `DocstringSkills`.
    """

    kind: Literal["docstring_labels"] = "docstring_labels"

    title = "docstring labels"
    scenarios = ("task", "class")
    split = LabelSets

    def names(self, library: str) -> tuple[str, ...]:
        """Return the subpackages, kinds and `takes parameters`, each with its library."""
        return tuple(f"{library}.{name}" for name in (*TOPICS[library], *KINDS, "takes parameters"))

    def ask(self, library: str, objects: Sequence[DocumentedObject]) -> Iterator[Asked]:
        """Yield all objects."""
        names = self.names(library)
        for item in objects:
            if len(item.text.split()) >= _FEWEST_WORDS:
                text = mask(without_names(item.text, item), KIND_WORDS)
                true = {item.topic, f"{library}.{item.kind}"}
                true |= {f"{library}.takes parameters"} if item.parameters else set()
                yield first_words(text, self.max_words), [float(name in true) for name in names], item.key
