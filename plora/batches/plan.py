"""Which examples go into which batch: a pure function of seed, task, phase and epoch.

That is what makes a resumed run the same run. Lengths decide how examples are grouped, never their values.
"""

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_POOL = 32
"""Batches' worth of shuffled examples that are sorted by length together: large enough for little padding, small
enough that a batch is still a random draw of the epoch."""


def plan_epoch(
    lengths: Indices,
    batch_size: int,
    seed: int,
    stage: int,
    phase: int,
    epoch: int,
    packed: bool = False,
    chances: NDArray[np.float64] | None = None,
) -> list[Indices]:
    """Return the examples of each optimizer step of one epoch; every example occurs once, unless they are drawn.

    Args:
        lengths: `[N]` tokens per example.
        batch_size: examples per step (the last step may have fewer).
        seed, stage, phase, epoch: decide the order.
        packed: examples share rows, so that lengths have no part in it: steps of short ones alone would weigh their
            tokens more than others.
        chances: `[N]`, adding up to 1: as many examples are drawn, each with this chance at every place.
    """
    rng = np.random.default_rng([seed, stage, phase, epoch])
    N = len(lengths)
    order = rng.permutation(N) if chances is None else rng.choice(N, N, p=chances)
    pool = batch_size * _POOL
    steps: list[Indices] = []
    for start in range(0, len(order), pool):
        chosen = order[start : start + pool]
        if not packed:
            chosen = chosen[np.argsort(lengths[chosen], kind="stable")]
        steps += [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
    return [steps[i] for i in rng.permutation(len(steps))]


def micro_batches(
    indices: Indices, lengths: Indices, max_examples: int, max_tokens: int, packed: bool = False
) -> list[Indices]:
    """Cut a step into forward passes of at most `max_examples` and, padding included, `max_tokens`.

    An example longer than `max_tokens` gets a pass of its own. Packed examples fill rows together, best where their
    lengths are mixed: they stay in their order, and are not padded.
    """
    ordered = indices if packed else indices[np.argsort(lengths[indices], kind="stable")]
    read = np.cumsum(lengths[ordered])
    parts: list[Indices] = []
    start = 0
    for end in range(1, len(ordered) + 1):
        full = end == len(ordered) or end - start == max_examples
        if not full and packed:
            full = read[end] - read[start] + lengths[ordered[start]] > max_tokens
        elif not full:
            full = (end - start + 1) * lengths[ordered[end]] > max_tokens
        if full:
            parts.append(ordered[start:end])
            start = end
    return parts


def plan_scoring(lengths: Indices, max_tokens: int, packed: bool = False) -> list[Indices]:
    """Return batches for scoring: all examples once, at most `max_tokens` each, padding included; see above."""
    return micro_batches(np.arange(len(lengths)), lengths, len(lengths), max_tokens, packed)
