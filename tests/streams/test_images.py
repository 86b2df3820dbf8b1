"""Images as splits: what their fingerprint sees, and that they are read when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from plora.streams.base import Task
from plora.streams.images import ImageArray, Images, Pixels

PIXELS = np.arange(300 * 4 * 6, dtype=np.int64).reshape(300, 4, 6).astype(np.uint8)
LABELS = np.arange(300, dtype=np.int64) % 3


@dataclass
class Written(Images):
    """Images that are read one after the other, and how many at once."""

    labels: NDArray[np.int64]
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        self.asked.append(len(indices))
        return [PIXELS[index] for index in indices.tolist()]


def test_a_fingerprint_is_of_the_content_and_not_of_the_way_to_it() -> None:
    split = Written(LABELS)
    assert split.fingerprint() == ImageArray(PIXELS, LABELS).fingerprint()
    assert sum(split.asked) == 300
    assert max(split.asked) < 300  # never all of them in memory


@pytest.mark.parametrize(
    "other",
    [
        ImageArray(PIXELS, (LABELS + 1) % 3),
        ImageArray(PIXELS[::-1], LABELS),
        ImageArray(PIXELS[:-1], LABELS[:-1]),
        ImageArray(PIXELS.reshape(300, 6, 4), LABELS),
        ImageArray(PIXELS[..., None], LABELS),
        ImageArray(np.where(np.arange(300)[:, None, None] == 299, PIXELS ^ 1, PIXELS), LABELS),
    ],
    ids=["labels", "order", "fewer", "shape", "channels", "one bit"],
)
def test_a_fingerprint_tells_splits_apart(other: ImageArray) -> None:
    assert other.fingerprint() != ImageArray(PIXELS, LABELS).fingerprint()


def test_some_images_come_in_the_order_that_was_asked_for() -> None:
    found = ImageArray(PIXELS, LABELS).read(np.array([7, 3, 7]))
    assert [np.array_equal(image, PIXELS[index]) for image, index in zip(found, (7, 3, 7), strict=True)] == [True] * 3


def test_duplicates_are_counted_in_memory_and_not_looked_for_elsewhere() -> None:
    train, test = ImageArray(PIXELS[:20], LABELS[:20]), ImageArray(PIXELS[18:30], LABELS[18:30])
    assert Task("held", ("a", "b", "c"), train, train, test).test_duplicates() >= 2
    written = Written(LABELS)
    assert Task("read", ("a", "b", "c"), written, written, written).test_duplicates() == 0
    assert written.asked == []
