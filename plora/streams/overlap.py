"""Texts of one split that also stand in another one, to the letter or nearly: counted, for accuracy may be too high.

Two texts are near duplicates where the Jaccard similarity of their character 8-grams is at least 0.6:

    J(a, b) = |G(a) ∩ G(b)| / |G(a) ∪ G(b)|

with G the set of all 8 characters in a row, of lower-case text whose blanks are single spaces (a text of fewer than 8
characters is one gram; the parts of a pair are joined). Comparing all pairs would take hours, so candidates come from
MinHash (two texts agree in one hash with probability J), of which two that agree make a band, and the Jaccard
similarity of those that share a band is then computed from the sets themselves. What is counted is right, therefore;
missed are 0.5 % of pairs at J = 0.6, 0.03 % at 0.7.

Source: Broder (1997), On the resemblance and containment of documents; Lee et al. (2022), Deduplicating training data
makes language models better (near duplicates in training data).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

GRAM = 8
NEAR = 0.6
BANDS, ROWS = 12, 2
CHARACTERS_UP_TO = 30_000_000
"""In all splits together; of more, finding near duplicates would take longer than a reader waits: none is sought."""
_NEIGHBOURS = 8  # candidates of a text on each side in a band, and pairs of a text that are computed
_LIKELY = 0.35  # of the hashes that agree: three standard deviations below 0.6 with 24 of them
_STRICT = ConfigDict(extra="forbid", strict=True)
_CHUNK = 1 << 18  # characters that are hashed at a time: what a processor's cache holds


@dataclass(frozen=True)
class Overlap:
    """How many texts of a split stand in an earlier one too; each counts once, where it fits first.

    Earlier are train for validation, train and validation for test.

    Args:
        same: to the letter in an earlier split of its own task.
        same_elsewhere: to the letter in an earlier split of another task.
        near: nearly in an earlier split of its own task.
        near_elsewhere: nearly in an earlier split of another task.
    """

    same: int
    same_elsewhere: int
    near: int
    near_elsewhere: int

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Overlaps:
    """Those of the splits of one task that are held out."""

    validation: Overlap
    test: Overlap

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class _Texts:
    """Different texts of the splits of all tasks.

    Args:
        normal: `[N]` texts as they are compared.
        task, split: `[N]` where each stands.
        count: `[N]` how often it stands there.
        same: `[N]` 1 where it stands to the letter in an earlier split of its own task, 2 of another task, else 0.
    """

    normal: list[str]
    task: NDArray[np.int64]
    split: NDArray[np.int64]
    count: NDArray[np.int64]
    same: NDArray[np.int64]


def overlaps(tasks: Sequence[Sequence[Sequence[str | tuple[str, str]]]]) -> list[list[Overlap]] | None:
    """Count for each task and each split but the first what also stands in earlier splits of any task.

    Args:
        tasks: of each task the texts, or pairs of texts, of its splits.

    Returns:
        As many lists as tasks, each with one entry per split but the first; None where the texts have more than
        30 million characters in all.
    """
    texts = _different(tasks)
    if sum(map(len, texts.normal)) > CHARACTERS_UP_TO:
        return None
    kind = texts.same.copy()
    for at, found in _near(texts):
        kind[at] = found
    counts = np.zeros((len(tasks), max(map(len, tasks)), 5), dtype=np.int64)
    np.add.at(counts, (texts.task, texts.split, kind), texts.count)
    return [
        [Overlap(*of_split[1:]) for of_split in of_task[1 : len(splits)]]
        for of_task, splits in zip(counts.tolist(), tasks, strict=True)
    ]


def _different(tasks: Sequence[Sequence[Sequence[str | tuple[str, str]]]]) -> _Texts:
    places: dict[str | tuple[str, str], dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))
    for t, splits in enumerate(tasks):
        for s, found in enumerate(splits):
            for text in found:
                places[text][t, s] += 1
    normal, rows = [], []
    for text, counts in places.items():
        one = " ".join((text if isinstance(text, str) else "\n".join(text)).lower().split())
        for (t, s), count in counts.items():
            own = any(of == t and earlier < s for of, earlier in counts)
            other = any(of != t and earlier < s for of, earlier in counts)
            normal.append(one)
            rows.append((t, s, count, 1 if own else 2 * other))
    return _Texts(normal, *np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def _near(texts: _Texts) -> Iterator[tuple[int, int]]:
    """Yield the place of each near duplicate, and 3 where its like is of its own task, 4 where of another."""
    hashes = _min_hashes(texts.normal)
    grams: dict[int, frozenset[str]] = {}

    def similarity(*pair: int) -> float:
        for at in pair:
            if at not in grams:
                grams[at] = _grams(texts.normal[at])
        one, other = (grams[at] for at in pair)
        return len(one & other) / len(one | other)

    held, known = _candidates(texts, hashes)
    likely = (hashes[held] == hashes[known]).mean(axis=1)
    elsewhere = texts.task[held] != texts.task[known]
    kept = likely >= _LIKELY
    held, known, likely, elsewhere = held[kept], known[kept], likely[kept], elsewhere[kept]
    order = np.lexsort((-likely, elsewhere, held))
    tried: dict[tuple[int, bool], int] = defaultdict(int)
    done = set[int]()
    for at, like, other in zip(held[order].tolist(), known[order].tolist(), elsewhere[order].tolist(), strict=True):
        if at in done or tried[at, other] >= _NEIGHBOURS:
            continue
        tried[at, other] += 1
        if similarity(at, like) >= NEAR:
            done.add(at)
            yield at, 4 if other else 3


def _candidates(texts: _Texts, hashes: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a text that is held out, and stands nowhere to the letter, with one of an earlier split, in one band."""
    N = len(texts.normal)
    pairs = [np.empty(0, dtype=np.int64)]
    for band in range(BANDS):
        one, two = hashes[:, ROWS * band].astype(np.uint64), hashes[:, ROWS * band + 1]
        key = one << np.uint64(32) | two
        order = np.lexsort(
            (hashes[:, ROWS * band - 1], texts.task, key)
        )  # those of one task, and likely ones, together
        for split in range(1, texts.split.max(initial=0) + 1):
            of_split = texts.split[order]
            held = np.flatnonzero((of_split == split) & (texts.same[order] == 0))
            known = np.flatnonzero(of_split < split)
            next_known = np.searchsorted(known, held)
            for step in range(-_NEIGHBOURS, _NEIGHBOURS):
                there = (next_known + step >= 0) & (next_known + step < len(known))
                a, b = order[held[there]], order[known[next_known[there] + step]]
                together = key[a] == key[b]
                pairs.append(a[together] * N + b[together])
    found = np.unique(np.concatenate(pairs))
    return found // max(N, 1), found % max(N, 1)


def _grams(text: str) -> frozenset[str]:
    return frozenset(text[at : at + GRAM] for at in range(max(1, len(text) - GRAM + 1)))


def _min_hashes(normal: Sequence[str]) -> NDArray[np.uint32]:
    """Return `[N, 24]`: of each text the least of its grams' hashes, for each of 24 ways to hash."""
    rng = np.random.default_rng(0)
    odd, flips = (rng.integers(0, 1 << 32, BANDS * ROWS, dtype=np.uint32) for _ in range(2))
    odd |= np.uint32(1)
    hashes = np.empty((len(normal), BANDS * ROWS), dtype=np.uint32)
    at = 0
    for chunk in _chunks(normal):
        lengths = np.array([max(len(text), GRAM) for text in chunk])
        padded = "".join(text.ljust(GRAM, "\0") for text in chunk).encode("utf-32-le", "surrogatepass")
        mixed = _mixed(np.frombuffer(padded, dtype=np.uint32).astype(np.uint64))
        ends = np.cumsum(lengths)
        inside = np.ones(ends[-1], dtype=bool)
        for back in range(1, GRAM):
            inside[ends - back] = False  # grams that would reach into the next text
        mixed = mixed[inside[: len(mixed)]]
        counts = lengths - GRAM + 1
        starts = np.cumsum(counts) - counts
        for way in range(BANDS * ROWS):
            hashes[at : at + len(chunk), way] = np.minimum.reduceat((mixed ^ flips[way]) * odd[way], starts)
        at += len(chunk)
    return hashes


def _chunks(normal: Sequence[str]) -> Iterator[list[str]]:
    chunk, characters = list[str](), 0
    for text in normal:
        chunk.append(text)
        characters += max(len(text), GRAM)
        if characters >= _CHUNK:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _mixed(codes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Return a hash of each 8 characters in a row: a polynomial in three doublings, its bits mixed."""
    factor, width = 0x9E3779B97F4A7C15, 1
    while width < GRAM:
        codes = codes[:-width] * np.uint64(factor) + codes[width:]
        factor, width = factor * factor % 2**64, 2 * width
    codes = (codes ^ codes >> np.uint64(32)) * np.uint64(0xD6E8FEB86659FD93)
    return (codes >> np.uint64(32)).astype(np.uint32)
