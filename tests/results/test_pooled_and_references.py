import numpy as np
import pytest

from plora.results import (
    MetricError,
    accuracy,
    average_incremental_accuracy,
    forward_transfer_of_learning,
    intransigence,
    intransigence_per_task,
    pooled_accuracy,
    pooled_average_incremental_accuracy,
    pooled_seen_accuracy,
)

NAN = np.nan
R = np.array([[NAN] * 3, [0.9, NAN, NAN], [0.7, 0.8, NAN], [0.6, 0.75, 0.85]])


def test_unequal_tasks_count_by_their_size() -> None:
    sizes = [100, 200, 700]
    # 90 of 100; 70 + 160 of 300; 60 + 150 + 595 of 1000
    assert pooled_seen_accuracy(R, sizes) == pytest.approx([0.9, 230 / 300, 0.805])
    assert pooled_accuracy(R, sizes) == pytest.approx(0.805)
    assert pooled_average_incremental_accuracy(R, sizes) == pytest.approx((0.9 + 230 / 300 + 0.805) / 3)
    assert pooled_accuracy(R, sizes) != pytest.approx(accuracy(R))


@pytest.mark.parametrize("T", [1, 3, 11, 120])
def test_equal_tasks_pooled_or_not_are_the_same(T: int) -> None:
    random = np.random.default_rng(T).uniform(size=(T + 1, T))
    assert pooled_accuracy(random, [50] * T) == pytest.approx(accuracy(random))
    assert pooled_average_incremental_accuracy(random, [50] * T) == pytest.approx(average_incremental_accuracy(random))


@pytest.mark.parametrize("sizes", [[1, 2], [1, 2, 0], [1, 2, -3], [1, 2, 2.5]])
def test_sizes_that_do_not_fit(sizes: list[int]) -> None:
    with pytest.raises(MetricError, match="test size"):
        pooled_accuracy(R, sizes)


def test_pooled_needs_what_the_means_need() -> None:
    holed = R.copy()
    holed[2, 0] = NAN
    assert pooled_accuracy(holed, [1, 2, 3]) == pytest.approx(accuracy(R) * 0 + (0.6 + 1.5 + 2.55) / 6)
    with pytest.raises(MetricError, match=r"AIA pooled needs R\[2,1\]"):
        pooled_average_incremental_accuracy(holed, [1, 2, 3])


def test_references() -> None:
    joint, single = [0.95, 0.8, 0.9], [0.92, 0.7, 0.8]
    assert intransigence_per_task(R, joint) == pytest.approx([0.05, 0.0, 0.05])
    assert intransigence(R, joint) == pytest.approx(0.1 / 3)
    assert forward_transfer_of_learning(R, single) == pytest.approx((-0.02 + 0.1 + 0.05) / 3)
    with pytest.raises(MetricError, match="I needs a reference of 3 accuracies"):
        intransigence(R, [0.9])
    with pytest.raises(MetricError, match="FWT_learn needs the reference of task 2"):
        forward_transfer_of_learning(R, [0.9, NAN, 0.8])
    with pytest.raises(MetricError, match=r"I needs R\[1,1\]"):
        intransigence(np.where(R == 0.9, NAN, R), joint)
