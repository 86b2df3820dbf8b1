"""ROUGE of a text: F1 of its words, of its pairs of words, and of the longest common subsequence with what is right."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

ROUGE: tuple[str, ...] = ("rouge_1", "rouge_2", "rouge_l")
"""Names of the scores, in the order in which `rouge` returns them."""
_NO_WORD = re.compile(r"[^a-z0-9]+")


def rouge(right: str, written: str) -> tuple[float, float, float]:
    """Return ROUGE-1, ROUGE-2 and ROUGE-L of a text, each in 0 to 1.

        F1 = 2 P R / (P + R),  P = what both have / what was written,  R = what both have / what is right

    What both have are runs of one and two words, counted as often as they stand in both, or the longest common
    subsequence of words. Words are runs of a-z and 0-9 in lower case, without stemming.

    Args:
        right: the reference.
        written: what is compared with it.

    Source: Lin 2004 (ROUGE); as the package rouge_score 0.1.2 computes them with `use_stemmer=False`.
    """
    a, b = (_NO_WORD.sub(" ", text.lower()).split() for text in (right, written))
    pairs = [Counter(pairwise(words)) for words in (a, b)]
    ones = Counter(a) & Counter(b)
    return (
        _f1(ones.total(), len(a), len(b)),
        _f1((pairs[0] & pairs[1]).total(), len(a) - 1, len(b) - 1),
        _f1(_common(a, b), len(a), len(b)),
    )


def _f1(shared: int, right: int, written: int) -> float:
    return 2 * shared / (right + written) if shared else 0.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table as the bits of one number.

    Source: Hyyrö 2004, bit-parallel LCS: V ← (V + (V ∧ M)) ∨ (V ∧ ¬M); the zeros of V are counted.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << at
    every = (1 << len(a)) - 1
    row = every
    for word in b:
        match = row & places.get(word, 0)
        row = ((row + match) | (row - match)) & every
    return len(a) - row.bit_count()
