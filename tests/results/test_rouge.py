"""ROUGE of texts, and in the record of those that wrote them."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "reference"))
import rouge as reference

from plora.errors import RunError
from plora.results import ROUGE, SCORES, TokenLikelihoods, rouge

TEXT = st.lists(st.sampled_from(["a", "b", "c", "D-e", "ü", "7", ",", "", "\n"]), max_size=12).map(" ".join)


@given(TEXT, TEXT)
def test_it_is_that_of_the_reference(right: str, written: str) -> None:
    assert rouge(right, written) == pytest.approx(reference.rouge(right, written))


def test_the_example_of_rouge_score() -> None:
    """Its README: ROUGE-1 of these is 3/4 recall over 3/5 … counted by hand."""
    right, written = "The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log."
    one, two, longest = rouge(right, written)
    assert one == pytest.approx(2 * (6 / 8) * (6 / 9) / (6 / 8 + 6 / 9))
    assert two == pytest.approx(2 * (2 / 7) * (2 / 8) / (2 / 7 + 2 / 8))
    assert longest == pytest.approx(2 * (5 / 8) * (5 / 9) / (5 / 8 + 5 / 9))


def record(scores: list[tuple[float, float, float]] | None, number: int = 2) -> TokenLikelihoods:
    counts = np.ones(number, np.int64)
    own = None if scores is None else np.array(scores)
    task, example = np.array(["one"] * number), np.arange(number, dtype=np.int32)
    return TokenLikelihoods(task, example, np.ones(number), counts, counts, np.ones(number, np.bool_), own)


def test_a_record_has_their_mean_where_all_have_them(tmp_path: Path) -> None:
    scores = [(1.0, 0.5, 0.75), (0.0, 0.0, 0.25)]
    found = record(scores)
    found.write(tmp_path / "texts.parquet")
    read = TokenLikelihoods.read(tmp_path / "texts.parquet")
    assert [read.value(SCORES[name]) for name in ROUGE] == [0.5, 0.25, 0.5]
    assert read.changed(found) == 0
    assert read.changed(record([(1.0, 0.5, 0.75), (0.0, 0.0, 0.5)])) == 1
    assert TokenLikelihoods.joined([read, read]).value(SCORES["rouge_l"]) == 0.5
    assert np.isnan(TokenLikelihoods.joined([read, record(None)]).value(SCORES["rouge_l"]))
    assert read.rows(np.array([1])).value(SCORES["rouge_l"]) == 0.25
    with pytest.raises(RunError, match=r"ROUGE of 2 documents is \[N, 3\] and from 0 to 1"):
        record([(1.0, 0.5, 1.75), (0.0, 0.0, 0.25)])
