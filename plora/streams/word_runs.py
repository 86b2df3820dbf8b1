"""How much of a text stands word for word in others: what a language model may have learned by heart."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 8
"""Words of a run that two texts do not share by chance."""

_NO_LETTER = re.compile(r"[\W\d_]+")
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd, so that no power of it is 0 modulo 2⁶⁴


def letters(text: str) -> str:
    """Return the words of a text, of letters of any script, in one case: equal for texts that are nearly the same."""
    return _NO_LETTER.sub(" ", text).casefold().strip() or text


def known_shares(texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """Return which share of the runs of `RUN` words of each text is in any of the others, `[N]`.

    Args:
        texts: N texts, as `letters` returns them; one with fewer words has no run, and a share of 0.
        others: texts of the same kind.

    Source: the overlap of n-grams by which test texts are told from training texts, Brown et al. 2020 (2005.14165),
    appendix C, with 13 words there.
    """
    number: dict[str, int] = {}
    known = np.sort(_runs(others, number)[0])  # not np.isin: its table of millions of hashes takes ten times as long
    runs, owner = _runs(texts, number)
    places = np.searchsorted(known, runs)
    inside = np.zeros(len(runs), np.bool_)
    inside[places < len(known)] = known[places[places < len(known)]] == runs[places < len(known)]
    counts = np.bincount(owner, minlength=len(texts))
    return np.bincount(owner[inside], minlength=len(texts)) / np.maximum(counts, 1)


def _runs(texts: Sequence[str], number: dict[str, int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The hash of every run of words, and which text it is of."""
    words = [np.array([number.setdefault(word, len(number) + 1) for word in text.split()], np.uint64) for text in texts]
    lengths = np.array([len(own) for own in words], np.int64)
    joined = np.concatenate([*words, np.empty(0, np.uint64)])
    owner = np.repeat(np.arange(len(texts)), lengths)
    count = max(len(joined) - RUN + 1, 0)
    inside = owner[:count] == owner[RUN - 1 : RUN - 1 + count]
    hashes = np.zeros(count, np.uint64)
    for place in range(RUN):
        hashes = hashes * np.uint64(_MULTIPLIER) + joined[place : place + count]
    return hashes[inside], owner[:count][inside]
