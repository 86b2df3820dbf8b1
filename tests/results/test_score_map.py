"""Scores of pixels as pictures."""

import numpy as np
import pytest

from plora.errors import DataError
from plora.results.pictures.score_map import score_map


def test_higher_scores_are_lighter_and_ends_are_what_was_said() -> None:
    scores = np.linspace(-3, 0, 200, dtype=np.float32)[None]
    found = score_map(scores, -3, 0)
    assert (found.shape, found.dtype) == ((1, 200, 3), np.uint8)
    light = found[0] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > -0.5).all()
    assert light[-1] - light[0] > 230
    assert found[0, 0].tolist() == [0, 0, 4]
    assert found[0, -1].tolist() == [252, 255, 164]
    beyond = score_map(np.array([[-9.0, np.inf]]), -3, 0)
    assert beyond[0].tolist() == [[0, 0, 4], [252, 255, 164]]


@pytest.mark.parametrize(
    ("scores", "low", "high", "said"),
    [
        (np.zeros(3), 0.0, 1.0, r"\[H, W\] numbers, got \[3\]"),
        (np.full((2, 2), np.nan), 0.0, 1.0, "no number"),
        (np.zeros((2, 2)), 1.0, 1.0, "from 1 to 1; expected the first below"),
    ],
)
def test_maps_that_cannot_be_shown_are_refused(scores: np.ndarray, low: float, high: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        score_map(scores, low, high)
