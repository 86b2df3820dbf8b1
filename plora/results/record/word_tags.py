"""Which words were taken for which tags: the record of a run whose answers are tags of words.

`predictions/task-03.parquet` holds, after task 3, the columns `task` (string), `example` (int32, position in the split
that was scored), and for each sentence the tags of its words: `true` and `predicted` (lists of int32). The file's
metadata holds `plora.kind` `word_tags`, `plora.schema` 1 and `plora.class_names`, a JSON list of the names of the tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plora.errors import RunError
from plora.results.record.entities import entities
from plora.results.record.list_measurements import ListMeasurements
from plora.results.record.measurements import Chosen
from plora.results.record.ragged import Starts, starts_of
from plora.results.record.score import Score


@dataclass(frozen=True, eq=False)
class WordTags(ListMeasurements):
    """N sentences of one or more tasks, after one row of the matrix.

    Args:
        task: `[N]` strings, the task of each sentence.
        example: `[N]` int32, its position in the split of its task that was scored.
        starts: `[N + 1]` int64, where the words of each sentence begin, and the end of the last.
        true: `[M]` int32, the tag of each word, an index into `class_names`.
        predicted: `[M]` int32, the tag that was found likeliest.
        class_names: the names of the tags: `O`, `B-…`, `I-…`; a name may occur in more than one task.

    Raises:
        RunError: the columns do not fit each other, or a tag is out of range.
    """

    kind: ClassVar[str] = "word_tags"
    scores: ClassVar[tuple[str, ...]] = ("entity_f1", "entity_f1_strict", "word_accuracy")
    types: ClassVar[Mapping[str, pa.DataType]] = {"true": pa.int32(), "predicted": pa.int32()}
    nouns: ClassVar[tuple[str, str, str]] = ("sentences", "words", "tags")

    task: NDArray[np.str_]
    example: NDArray[np.int32]
    starts: Starts
    true: NDArray[np.int32]
    predicted: NDArray[np.int32]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        self.require_lists()
        M, C = len(self.true), len(self.class_names)
        for name, tags in (("true", self.true), ("predicted", self.predicted)):
            if M and not 0 <= int(tags.min()) <= int(tags.max()) < C:
                raise RunError(f"word tags: a {name} tag is out of range, there are {C}")

    @classmethod
    def of_padded(
        cls,
        task: NDArray[np.str_],
        example: NDArray[np.int32],
        true: NDArray[np.int32],
        predicted: NDArray[np.int32],
        class_names: tuple[str, ...],
    ) -> Self:
        """Return the record of sentences that stand one below the other.

        Args:
            true, predicted: `[N, W]`, −1 after the last word of a sentence.
            task, example, class_names: as they stand in the record.
        """
        inside = true >= 0
        return cls(task, example, starts_of(inside.sum(axis=1)), true[inside], predicted[inside], class_names)

    def value(self, score: Score) -> float:
        """Return a score of all sentences together.

            entity F1 = 2 TP / (true entities + predicted entities), TP those with the same words and type in both
            word accuracy = words whose predicted tag is the true one / words

        An entity begins with B-, or with an I- that follows no word of its type; in `entity_f1_strict`, with B- alone.
        It is 0 where there is none at all.

        Source: seqeval 1.2.2, `f1_score(average="micro")`, and with `mode="strict", scheme=IOB2`.

        Raises:
            RunError: the score is none of these.
        """
        if score.name not in self.scores:
            raise self._unknown(score)
        if not len(self):
            return float("nan")
        if score.name == "word_accuracy":
            return float((self.true == self.predicted).mean())
        true, predicted = (entities(tags, self.class_names, self.starts) for tags in (self.true, self.predicted))
        if score.name == "entity_f1_strict":
            true, predicted = true.strict, predicted.strict
        every = len(true.first) + len(predicted.first)
        return 2 * true.shared(predicted) / every if every else 0.0

    def differs(self, other: Self) -> Chosen:
        """Return which sentences have another tag, true or predicted."""
        return self._distances(other) > 0

    def farthest(self, other: Self) -> float:
        """Return the most words of a sentence whose tags differ."""
        return float(self._distances(other).max())

    def _distances(self, other: Self) -> NDArray[np.int64]:
        """`[N]`: of each sentence, how many words have another tag; all where it has another number of words."""
        lengths, others = np.diff(self.starts), np.diff(other.starts)
        found: NDArray[np.int64] = np.maximum(lengths, others)
        for row in np.flatnonzero(lengths == others).tolist():
            a, b = (slice(one.starts[row], one.starts[row + 1]) for one in (self, other))
            apart = (self.true[a] != other.true[b]) | (self.predicted[a] != other.predicted[b])
            found[row] = int(apart.sum())
        return found
