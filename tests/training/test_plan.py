"""Plans of batches: pure functions, complete, and within their limits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plora.batches.plan import micro_batches, plan_epoch, plan_scoring

LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=300).map(lambda values: np.array(values, dtype=np.int64))


@given(LENGTHS, st.integers(1, 40), st.integers(0, 5), st.integers(0, 3))
def test_every_example_occurs_once_in_an_epoch(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> None:
    plan = plan_epoch(lengths, batch_size, seed, 0, 0, epoch)
    assert sorted(np.concatenate(plan).tolist()) == list(range(len(lengths)))
    assert len(plan) == -(-len(lengths) // batch_size)
    assert max(map(len, plan)) <= batch_size


def test_the_plan_depends_on_each_of_its_arguments_and_on_nothing_else() -> None:
    lengths = np.arange(1, 101)
    first = plan_epoch(lengths, 8, 0, 0, 0, 0)
    np.random.seed(3)
    again = plan_epoch(lengths, 8, 0, 0, 0, 0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        plan = plan_epoch(lengths, 8, *other)
        assert any(not np.array_equal(a, b) for a, b in zip(first, plan, strict=True))


def test_batches_hold_texts_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(5, 128, 2000)
    plan = plan_epoch(lengths, 32, 0, 0, 0, 0)
    padded = sum(len(step) * lengths[step].max() for step in plan)
    assert padded < 1.1 * lengths.sum()
    unsorted = sum(32 * lengths[i : i + 32].max() for i in range(0, 2000, 32))
    assert unsorted > 1.7 * lengths.sum()


@given(LENGTHS, st.integers(1, 20), st.integers(8, 500))
def test_micro_batches_are_a_partition_within_both_limits(lengths: np.ndarray, examples: int, tokens: int) -> None:
    indices = np.random.default_rng(0).permutation(len(lengths))
    parts = micro_batches(indices, lengths, examples, tokens)
    assert sorted(np.concatenate(parts).tolist()) == sorted(indices.tolist())
    for part in parts:
        assert len(part) <= examples
        assert len(part) == 1 or len(part) * lengths[part].max() <= tokens


@given(LENGTHS, st.integers(8, 2000))
def test_scoring_covers_everything_once(lengths: np.ndarray, tokens: int) -> None:
    assert sorted(np.concatenate(plan_scoring(lengths, tokens)).tolist()) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 20), st.integers(8, 500))
def test_packed_micro_batches_keep_their_order_and_hold_so_many_tokens(
    lengths: np.ndarray, most: int, tokens: int
) -> None:
    order = np.random.default_rng(0).permutation(len(lengths))
    parts = micro_batches(order, lengths, most, tokens, packed=True)
    assert np.concatenate(parts).tolist() == order.tolist()
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        assert len(part) == 1 or (len(part) <= most and lengths[part].sum() <= tokens)
        if following is not None:  # as many as there is room for
            assert len(part) == most or lengths[part].sum() + lengths[following[0]] > tokens


def test_steps_of_packed_examples_hold_short_and_long_ones() -> None:
    lengths = np.where(np.arange(640) % 2, 500, 1)
    totals = [lengths[step].sum() for step in plan_epoch(lengths, 16, 0, 0, 0, 0, packed=True)]
    assert min(totals) > 500
    assert max(totals) < 16 * 500
    assert min(lengths[step].sum() for step in plan_epoch(lengths, 16, 0, 0, 0, 0)) == 16
