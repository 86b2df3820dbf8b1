"""Words of docstrings that name an argument: real sentences with tags that need no download and nobody has to write.

The text is the description of a function or method, up to its first section, without markup (see `docstring_prose`), so
that nothing but the words tells which of them are names of arguments. The syntax tree knows these names.
"""

import re
from typing import Literal

from pydantic import Field

from plora.streams.base import SPLITS, SplitName, Stream, StreamSource, Task

_PIECES = re.compile(r"\w+|[^\w\s]")
_SHORTEST = 2
"""Letters of a name that is looked for: `a` is an article, and `x` may be any number."""


class DocstringArguments(StreamSource):
    """Which words of a description name an argument of what it describes? A task for each of five libraries.

    A word that is the name of an argument, as it is written in the signature, is one (`B-argument`); names of one
    letter are not looked for. Descriptions without any are left out. The same tags in each task, so that they may share
    a head.
    """

    kind: Literal["docstring_arguments"] = "docstring_arguments"

    train_per_task: int = Field(default=400, ge=10)
    """Training sentences per task, at most."""

    validation_per_task: int = Field(default=80, ge=10)
    """Validation sentences per task, at most."""

    test_per_task: int = Field(default=160, ge=10)
    """Test sentences per task, at most."""

    max_words: int = Field(default=60, ge=10)
    """Texts are cut after so many words and signs."""

    def load(self) -> Stream:
        """Read the five libraries, mark their arguments and cut the splits.

        Raises:
            DataError: a library is not installed.
        """
        from plora.streams.docstring_corpus import TOPICS, library_versions, read_corpus
        from plora.streams.docstrings import objects_by_split
        from plora.streams.tagged_sentences import OUTSIDE, TaggedSentences, Words, tags_of

        caps = dict(zip(SPLITS, (self.train_per_task, self.validation_per_task, self.test_per_task), strict=True))
        objects, names = objects_by_split(read_corpus()), (OUTSIDE, *tags_of(["argument"]))
        tasks = []
        for domain in TOPICS:
            splits: dict[SplitName, TaggedSentences] = {}
            seen: set[Words] = set()  # cutting can make texts of two splits equal
            for split in SPLITS:
                words, tags = list[Words](), list[tuple[int, ...]]()
                for item in objects[split]:
                    if item.topic.partition(".")[0] != domain or item.arguments is None or len(words) == caps[split]:
                        continue
                    known = {name for name in item.arguments if len(name) >= _SHORTEST}
                    found = tuple(_PIECES.findall(item.text)[: self.max_words])
                    own = tuple(int(word in known) for word in found)
                    if any(own) and found not in seen:
                        seen.add(found)
                        words.append(found)
                        tags.append(own)
                splits[split] = TaggedSentences(tuple(words), tuple(tags), names)
            tasks.append(Task(domain, names, **splits))
        return Stream("docstring arguments", tuple(tasks), ("task", "domain"), library_versions())
