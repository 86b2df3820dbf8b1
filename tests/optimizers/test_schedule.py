"""The learning rate over the steps of a phase."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.optimizers import rates

from plora.optimizers import Schedule, rate

SCHEDULES = ("linear", "cosine", "polynomial", "constant")


@given(st.sampled_from(SCHEDULES), st.integers(1, 60), st.floats(0, 0.9), st.floats(0, 1), st.floats(0.1, 4))
def test_the_rate_is_that_of_the_reference(
    schedule: Schedule, total: int, warmup: float, floor: float, power: float
) -> None:
    expected = rates(total, math.ceil(warmup * total), schedule, floor, power)
    got = [rate(step, total, warmup, schedule, floor, power) for step in range(total)]
    assert got == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [("linear", 0.5, 0.0), ("cosine", 0.5, 0.0), ("polynomial", 0.25, 0.0), ("constant", 1.0, 1.0)],
)
def test_it_rises_then_follows_its_schedule(schedule: Schedule, middle: float, end: float) -> None:
    found = [rate(step, 110, 10 / 110, schedule, power=2.0) for step in range(110)]
    assert found[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert found[60] == pytest.approx(middle)
    assert found[-1] == pytest.approx(end, abs=0.011)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_it_ends_at_the_floor_and_never_goes_below(schedule: Schedule) -> None:
    found = [rate(step, 1000, 0.0, schedule, floor=0.2, power=2.0) for step in range(1000)]
    assert min(found) >= 0.2
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.0 if schedule == "constant" else 0.2, abs=1e-3)


def test_a_floor_of_0_changes_no_bit() -> None:
    for step in range(97):
        done = step / 97
        assert rate(step, 97, 0.0, "linear") == 1.0 - done
        assert rate(step, 97, 0.0, "cosine") == 0.5 * (1.0 + math.cos(math.pi * done))
        assert rate(step, 97, 0.0, "constant") == 1.0
