"""Tag every word of new sentences with a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plora.batches.evaluate import measured
from plora.errors import DataError, RunError
from plora.problems.token_classification import TokenClassification
from plora.results.record.entities import entities
from plora.runs.loading import load_learner
from plora.runs.predicting import require_task


@dataclass(frozen=True)
class TaggedWords:
    """The tag of each word of one input.

    Args:
        input: as it was given.
        words: of it.
        tags: `O`, `B-…` or `I-…` of each.
    """

    input: object
    words: tuple[str, ...]
    tags: tuple[str, ...]

    @property
    def entities(self) -> tuple[tuple[str, str], ...]:
        """Type and words of each entity, in their order; one begins with B-, or with an I- of a type that is new."""
        names = [*dict.fromkeys(self.tags)]
        ids = np.array([names.index(tag) for tag in self.tags], np.int32)
        found = entities(ids, names, np.array([0, len(ids)]))
        places = zip(found.first.tolist(), found.last.tolist(), strict=True)
        return tuple((self.tags[first][2:], " ".join(self.words[first : last + 1])) for first, last in places)


_AT_ONCE = 1024
"""Inputs that are encoded before more are looked at."""


def tag(
    path: Path,
    inputs: Sequence[object],
    task: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> list[TaggedWords]:
    """Tag the words of new sentences with a run's last checkpoint; the data that it was learned from are not needed.

    Args:
        path: the run folder.
        inputs: texts, whose words stand between blanks, or lists of words; one without a word has no tag.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.
        progress: called now and then with the number of inputs that were tagged since it was last called.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no input, or one is neither a text nor a list of words.
        RunError: the answers of the run's problem are no tags.
    """
    if not inputs:
        raise DataError("nothing to tag: no input was given")
    learner, learned, space = load_learner(path)
    problem = learner.model.problem
    if not isinstance(problem, TokenClassification):
        raise RunError(f"{path} gives words no tags, it is scored by {problem.score.title}; use `plora predict`")
    named = require_task(task, learned.tasks, space.scenario)
    visible = space.visible(named, learned.tasks)
    found: list[TaggedWords] = []
    for start in range(0, len(inputs), _AT_ONCE):
        some = inputs[start : start + _AT_ONCE]
        worded = [one for one in some if not _is_empty(one)]
        tags: Iterator[tuple[tuple[str, ...], list[int]]] = iter(())
        if worded:
            sentences = problem.given(worded)
            rows = measured(learner.extractor, problem.encode(sentences), named, visible)["predicted"]
            tags = zip(sentences.sentences, rows.tolist(), strict=True)
        for one in some:
            words, own = ((), []) if _is_empty(one) else next(tags)
            found.append(TaggedWords(one, words, tuple(space.names[row] for row in own[: len(words)])))
        if progress is not None:
            progress(len(some))
    return found


def _is_empty(one: object) -> bool:
    """Whether an input is a text or a list without a word."""
    return isinstance(one, str | list | tuple) and not (one.split() if isinstance(one, str) else one)
