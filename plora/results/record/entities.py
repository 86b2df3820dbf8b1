"""Entities in tagged words, by the definitions of `seqeval`: which words are one, and how many two taggings share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.int32]
"""A class of each word, sentence after sentence."""


class Entities(NamedTuple):
    """Runs of words that are one entity each.

    Args:
        first, last: `[E]` places of their first and last words.
        kind: `[E]` number of the type of each.
        begun: `[E]` bool, its first word says that it begins (B-).
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    kind: NDArray[np.int64]
    begun: NDArray[np.bool_]

    @property
    def strict(self) -> "Entities":
        """Those that begin with B-."""
        chosen = self.begun
        return Entities(self.first[chosen], self.last[chosen], self.kind[chosen], chosen[chosen])

    def shared(self, other: "Entities") -> int:
        """Return how many entities have the same words and type in both."""
        own, others = ({*zip(*(part.tolist() for part in one[:3]), strict=True)} for one in (self, other))
        return len(own & others)


def entities(tags: Words, names: Sequence[str], starts: NDArray[np.int64]) -> Entities:
    """Return the entities of tagged words.

    An entity begins with B-, or with an I- that follows no word of its type in its sentence; it goes on with I- of its
    type. Those that begin with B- are what the strict form of the scheme IOB2 knows.

    Args:
        tags: `[M]` a class of each word.
        names: of the classes: `O`, `B-…`, `I-…`; one may occur more than once.
        starts: `[N + 1]` where each sentence begins, and the end of the last.

    Source: `get_entities` of seqeval 1.2.2, and its scheme IOB2 in mode strict.
    """
    types = {one: number for number, one in enumerate(dict.fromkeys(name[2:] for name in names if name[1:2] == "-"))}
    type_of = np.array([types.get(name[2:], -1) if name[1:2] == "-" else -1 for name in names], np.int64)
    begins = np.array([name.startswith("B-") for name in names], np.bool_)
    kind, begun = type_of[tags], begins[tags]
    new_sentence = np.zeros(len(tags) + 1, np.bool_)
    new_sentence[starts] = True
    before = np.concatenate([[-1], kind[:-1]])[: len(tags)]
    goes_on = (kind >= 0) & ~begun & (kind == before) & ~new_sentence[:-1]
    first = np.flatnonzero((kind >= 0) & ~goes_on)
    ends = np.flatnonzero((kind >= 0) & ~np.append(goes_on[1:], False)[: len(tags)])
    return Entities(first, ends, kind[first], begun[first])
