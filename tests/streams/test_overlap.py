import random
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plora.streams import overlap
from plora.streams.base import Split, Stream, Task, Texts
from plora.streams.images import ImageArray
from plora.streams.overlap import Overlap, Overlaps, overlaps

LONG = "The quick brown fox jumps over the lazy dog and sleeps below the old oak until the morning comes."


def grams(text: str) -> set[str]:
    text = " ".join(text.lower().split())
    return {text[at : at + 8] for at in range(max(1, len(text) - 7))}


def jaccard(one: str, other: str) -> float:
    return len(grams(one) & grams(other)) / len(grams(one) | grams(other))


def by_hand(tasks: list[list[list[str]]]) -> list[list[Overlap]]:
    """Every pair compared."""
    found = []
    for t, splits in enumerate(tasks):
        found.append([])
        for s in range(1, len(splits)):
            own = [text for split in splits[:s] for text in split]
            others = [text for o, other in enumerate(tasks) if o != t for split in other[:s] for text in split]
            counts = [0] * 5
            for text in splits[s]:
                near = [any(jaccard(text, known) >= 0.6 for known in of) for of in (own, others)]
                fits = (text in own, text in others, *near, True)
                counts[fits.index(True)] += 1
            found[-1].append(Overlap(*counts[:4]))
    return found


def test_each_text_counts_once_where_it_fits_first() -> None:
    upper, longer = LONG.upper(), LONG.replace("quick", "slow")
    a = [["b", LONG], [LONG, "c"], [upper, longer, "b", "c", "d", "d", "new"]]
    b = [["d", "e"], ["f"], ["e", longer, upper.replace("FOX", "CAT")]]
    assert overlaps([a, b]) == [
        [Overlap(1, 0, 0, 0), Overlap(same=2, same_elsewhere=2, near=2, near_elsewhere=0)],
        [Overlap(0, 0, 0, 0), Overlap(same=1, same_elsewhere=0, near=0, near_elsewhere=2)],
    ]


def test_a_later_split_of_another_task_is_no_leak() -> None:
    assert overlaps([[["a"], ["b"], ["c"]], [["d"], ["c"], ["b"]]]) == [
        [Overlap(0, 0, 0, 0), Overlap(0, 1, 0, 0)],
        [Overlap(0, 0, 0, 0), Overlap(0, 1, 0, 0)],
    ]
    assert overlaps([[["a"], ["b"], ["c"]], [["d"], ["e"], ["f"]]]) == [[Overlap(0, 0, 0, 0)] * 2] * 2


def test_parts_of_a_pair_are_compared_together() -> None:
    pair, swapped = (LONG, "an answer"), ("an answer", LONG)
    assert overlaps([[[pair], [(LONG, "An  answer")], [swapped]]]) == [[Overlap(0, 0, 1, 0), Overlap(0, 0, 1, 0)]]
    assert overlaps([[["ab\nc"], [("ab", "c")]]]) == [[Overlap(0, 0, 1, 0)]]  # near, and not the same


@given(st.lists(st.text(alphabet="abAB \ud800é", max_size=20), min_size=6, max_size=30))
def test_short_and_odd_texts_as_by_hand(texts: list[str]) -> None:
    tasks = [[texts[0::6], texts[1::6], texts[2::6]], [texts[3::6], texts[4::6], texts[5::6]]]
    assert overlaps(tasks) == by_hand(tasks)


def test_changed_texts_as_by_hand() -> None:
    """Texts with ever more other words: around 0.6 too, nothing is counted that is not near, and few are missed."""
    rng = random.Random(0)
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9))) for _ in range(500)]
    train = [rng.choices(words, k=40) for _ in range(150)]
    test = [[rng.choice(words) if rng.random() < at / 600 else word for word in text] for at, text in enumerate(train)]
    tasks = [[[" ".join(text) for text in split] for split in (train, [], test)]]
    ((_, counted),), ((_, expected),) = overlaps(tasks) or [], by_hand(tasks)
    assert 60 < expected.near < 150
    assert expected.near - 1 <= counted.near <= expected.near


def test_texts_of_one_template_are_found_among_their_like() -> None:
    """All are candidates of all: what is looked at is bounded, and each finds one."""
    texts = [f"This is the text of number {at}, and all else that it says is as it was before." for at in range(3000)]
    assert overlaps([[texts[:2000], texts[2000:2100], texts[2100:]]]) == [
        [Overlap(0, 0, 100, 0), Overlap(0, 0, 900, 0)]
    ]


def test_too_many_characters_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap, "CHARACTERS_UP_TO", 8)
    assert overlaps([[["abc"], ["de"], ["fgh"]]]) is not None
    assert overlaps([[["abc"], ["de"], ["fghi"]]]) is None


def _texts(*inputs: str) -> Split:
    return Texts(inputs, np.arange(len(inputs)) % 2)


def test_a_stream_of_texts_counts_and_one_of_images_does_not() -> None:
    texts = Task("t", ("x", "y"), _texts(LONG, "other"), _texts("third"), _texts(LONG, LONG + "!"))
    none = Overlap(0, 0, 0, 0)
    assert Stream("s", (texts,)).overlaps() == {"t": Overlaps(none, Overlap(1, 0, 1, 0))}
    images = ImageArray(np.zeros((2, 4, 4, 3), dtype=np.uint8), np.arange(2))
    assert Stream("s", (texts, Task("i", ("x", "y"), images, images, images))).overlaps() is None
