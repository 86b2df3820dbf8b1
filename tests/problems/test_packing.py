"""Windows of documents, and rows that hold several of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plora.problems.packing import Window, apart, pack, windows


@given(read=st.integers(1, 60), width=st.integers(1, 12), data=st.data())
def test_each_token_counts_once_and_later_ones_have_context(read: int, width: int, data: st.DataObject) -> None:
    context = data.draw(st.integers(0, width - 1))
    counted = np.zeros(read, int)
    for window in windows(0, read, width, context):
        assert window.read <= width
        assert window.counted == (context if window.first else 0)
        counted[window.first + window.counted : window.first + window.read] += 1
    assert (counted == 1).all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=20))
def test_rows_hold_every_window_and_none_overlaps(reads: list[int]) -> None:
    found = [Window(document, 0, read, 0) for document, read in enumerate(reads)]
    taken = np.zeros((len(reads), 9), int)
    placed = pack(found, 9)
    for one in placed:
        taken[one.row, one.column : one.column + one.window.read] += 1
    assert taken.max() == 1
    assert sorted(one.window.document for one in placed) == [*range(len(reads))]
    rows = 1 + max(one.row for one in placed)
    assert rows <= 2 * -(-sum(reads) // 9)  # first fit is at most twice the best


def test_apart_each_window_has_a_row() -> None:
    found = [*windows(0, 5, 2, 0), *windows(1, 1, 2, 0)]
    assert [one.row for one in apart(found)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("reads", "rows"), [([5, 4, 3, 6], 2), ([9, 9, 1], 3)])
def test_first_fit_fills_rows(reads: list[int], rows: int) -> None:
    placed = pack([Window(number, 0, read, 0) for number, read in enumerate(reads)], 9)
    assert 1 + max(one.row for one in placed) == rows
