"""The search for partition types: equal to the slow one, and what it prefers where that can be told."""

import numpy as np
import pytest
from numpy.typing import NDArray

from plora.streams.partitions import PARTITIONS, partitions_at
from plora.streams.rate_distortion import lagrangian, partition_costs
from tests.reference.rate_distortion import block_costs


def textured(side: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, 25, (side, side))
    ramp = np.add.outer(np.arange(side) * 3, np.arange(side))
    return np.clip(60 + ramp + noise, 0, 255).astype(np.uint8)


def chosen(luma: NDArray[np.uint8], size: int, step: float) -> list[str]:
    names, costs = partitions_at(size), partition_costs(luma, size, step)
    return [names[best] for best in costs.reshape(-1, len(names)).argmin(axis=1).tolist()]


@pytest.mark.parametrize(("size", "side"), [(8, 26), (16, 17)])
@pytest.mark.parametrize("step", [6.0, 40.0])
def test_costs_are_those_of_the_slow_search(size: int, side: int, step: float) -> None:
    luma = textured(side)
    found = partition_costs(luma, size, step)
    rows, columns = found.shape[:2]
    assert (rows, columns) == ((side - 1) // size,) * 2
    for row in range(rows):
        for column in range(columns):
            wanted = block_costs(luma, 1 + row * size, 1 + column * size, size, step)
            np.testing.assert_allclose(found[row, column], wanted, rtol=1e-9)


def test_rectangles_of_every_type_cover_the_block_once() -> None:
    for name, rectangles in PARTITIONS.items():
        covered = np.zeros((16, 16), int)
        for top, left, height, width in rectangles:
            rows, columns = (
                slice(int(top * 16), int((top + height) * 16)),
                slice(int(left * 16), int((left + width) * 16)),
            )
            covered[rows, columns] += 1
        assert (covered == 1).all(), name
    assert [len(partitions_at(size)) for size in (8, 16, 32, 64)] == [4, 10, 10, 10]


def test_a_plain_block_is_not_divided_and_edges_are_followed() -> None:
    plain = np.full((33, 33), 90, np.uint8)
    assert set(chosen(plain, 16, 16)) == {"NONE"}
    halves = plain.copy()
    halves[1 + 8 :, 1:] = 200  # of the first block the lower half; what is beside the second says it all
    assert chosen(halves, 16, 16)[:2] == ["HORZ", "NONE"]
    assert chosen(halves.T.copy(), 16, 16)[0] == "VERT"


def test_a_coarser_quantiser_divides_less() -> None:
    luma = textured(65)
    divided = [sum(name != "NONE" for name in chosen(luma, 16, step)) for step in (4.0, 200.0)]
    assert divided[0] > divided[1]
    assert lagrangian(2.0) == 0.85
