"""Another network than the run's model learns beside it, such as one that writes texts.

What it learns is a strategy's, and is kept as the strategy's memory. A kill lets it begin anew with its task, and the
same seed gives the same bits.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from plora.lesson import Practice, Show
from plora.optimizers import AdamW, make_optimizer, rate, set_rates


def practise(
    practice: Practice,
    progress: Show,
    autocast: Callable[[], AbstractContextManager[None]],
) -> list[float]:
    """Train, and return the mean loss of each epoch, dropout on.

    AdamW without weight decay; the rate falls in a line to 0. Examples are drawn with the random numbers of the caller.

    Args:
        practice: what learns, and from what.
        progress: shows how far it is.
        autocast: makes the context in which the loss is computed.
    """
    parts = dict.fromkeys(practice.parameters, "adapter")
    optimizer = make_optimizer(practice.parameters, parts, AdamW(), (), practice.learning_rate, 0.0)
    total = practice.epochs * -(-practice.examples // practice.batch_size)
    means, step = list[float](), 0
    for _ in range(practice.epochs):
        summed, weight = 0.0, 0.0
        for indices in torch.split(torch.randperm(practice.examples), practice.batch_size):
            set_rates(optimizer, rate(step, total, 0.0, "linear"))
            with autocast():
                loss, counts = practice.loss(indices)
            (loss / counts).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            summed, weight, step = summed + loss.item(), weight + counts, step + 1
            progress(practice.what, step, total)
        means.append(summed / weight)
    return means
