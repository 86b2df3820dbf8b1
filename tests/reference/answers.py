"""Prompts and answers, one document and one token at a time; slow and obvious."""

from collections.abc import Sequence

import torch
from torch import nn


@torch.no_grad()
def answered(network: nn.Module, read: Sequence[int], answer: Sequence[int], end: int) -> tuple[float, bool]:
    """Return − Σ log p(token of the answer | all before it), and whether greedy decoding writes it and then ends.

    Args:
        network: returns `logits` `[1, T, V]`.
        read: tokens before the answer, with the one that begins a text.
        answer: its tokens, without its end.
        end: token after it.
    """
    nats, right = 0.0, True
    for place, token in enumerate([*answer, end]):
        scores = network(input_ids=torch.tensor([[*read, *answer[:place]]])).logits[0, -1].double()
        right = right and int(scores.argmax()) == token
        if place < len(answer):
            nats -= float(scores.log_softmax(0)[token])
    return nats, right
