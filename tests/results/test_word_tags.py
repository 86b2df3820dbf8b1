"""The record of tagged words: F1 as seqeval has it, files that come back, and damage that is named."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "reference"))
import entities as reference

from plora.errors import RunError
from plora.results import SCORES, WordTags, read_measurements

NAMES = ("O", "B-a", "I-a", "B-b", "I-b", "O", "B-a", "I-a")
"""Of two tasks; a name may stand for two rows."""
TAG = st.integers(0, len(NAMES) - 1)


def record(true: Sequence[Sequence[int]], predicted: Sequence[Sequence[int]], task: str = "one") -> WordTags:
    width = max(map(len, true))
    padded = [np.array([[*row, *[-1] * (width - len(row))] for row in rows], np.int32) for rows in (true, predicted)]
    return WordTags.of_padded(np.full(len(true), task), np.arange(len(true), dtype=np.int32), *padded, NAMES)


@st.composite
def two_taggings(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    return tuple([draw(st.lists(TAG, min_size=n, max_size=n)) for n in lengths] for _ in range(2))  # type: ignore[return-value]


@given(two_taggings())
def test_f1_is_that_of_the_reference(both: tuple[list[list[int]], list[list[int]]]) -> None:
    true, predicted = ([[NAMES[tag] for tag in row] for row in rows] for rows in both)
    found = record(*both)
    assert found.value(SCORES["entity_f1"]) == pytest.approx(reference.f1(true, predicted, strict=False))
    assert found.value(SCORES["entity_f1_strict"]) == pytest.approx(reference.f1(true, predicted, strict=True))
    words = [a == b for rows in zip(*both, strict=True) for a, b in zip(*rows, strict=True)]
    assert found.value(SCORES["word_accuracy"]) == pytest.approx(np.mean(words))


def test_the_example_of_seqeval() -> None:
    """Its README: default 0.50; and an I- that follows nothing is an entity by default, and none in strict mode."""
    names = ("O", "B-MISC", "I-MISC", "B-PER", "I-PER")
    true = [["O", "O", "O", "B-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    predicted = [["O", "O", "B-MISC", "I-MISC", "I-MISC", "I-MISC", "O"], ["B-PER", "I-PER", "O"]]
    ids = [[[names.index(tag) for tag in row] + [-1] * (7 - len(row)) for row in rows] for rows in (true, predicted)]
    found = WordTags.of_padded(np.full(2, "t"), np.arange(2, dtype=np.int32), *np.array(ids, np.int32), names)
    assert found.value(SCORES["entity_f1"]) == 0.5
    assert found.value(SCORES["entity_f1_strict"]) == 0.5
    stray = record([[2, 2, 0]], [[2, 2, 0]])
    assert stray.value(SCORES["entity_f1"]) == 1.0
    assert stray.value(SCORES["entity_f1_strict"]) == 0.0


def test_nothing_is_no_entity_and_no_sentence_is_not_measured() -> None:
    found = record([[0, 0]], [[0, 0]])
    assert found.value(SCORES["entity_f1"]) == 0.0
    assert np.isnan(found.rows(np.zeros(1, np.bool_)).value(SCORES["entity_f1"]))
    with pytest.raises(RunError, match="word tags cannot give the score 'accuracy'; they give entity_f1,"):
        found.value(SCORES["accuracy"])


def test_a_file_comes_back_and_rows_and_joins_keep_their_words(tmp_path: Path) -> None:
    first, second = record([[0, 1, 2], [3]], [[0, 1, 0], [3]]), record([[4, 4]], [[0, 4]], "two")
    whole = WordTags.joined([first, second])
    whole.write(tmp_path / "tags.parquet")
    read = read_measurements(tmp_path / "tags.parquet")
    assert isinstance(read, WordTags)
    assert read.class_names == NAMES
    assert read.changed(whole) == 0
    assert [read.of("two").true.tolist(), read.rows(np.array([1, 0])).true.tolist()] == [[4, 4], [3, 0, 1, 2]]
    other = record([[0, 1, 2], [3]], [[0, 1, 2], [0]])
    assert first.changed(other) == 2
    assert first.largest_difference(other) == 1


def test_damage_is_named() -> None:
    task, example = np.array(["t"]), np.zeros(1, np.int32)
    tags = np.zeros(2, np.int32)
    with pytest.raises(RunError, match="of 1 sentences and 2 words do not fit"):
        WordTags(task, example, np.array([0, 3]), tags, tags, NAMES)
    with pytest.raises(RunError, match="a predicted tag is out of range, there are 8"):
        WordTags(task, example, np.array([0, 2]), tags, tags + 8, NAMES)
