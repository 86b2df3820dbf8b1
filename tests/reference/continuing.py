"""Likelihoods of the tokens of a document, one token at a time."""

import torch
from torch import nn


@torch.no_grad()
def nats_of_tokens(network: nn.Module, tokens: list[int], width: int, context: int) -> list[float]:
    """Return − log p of each token after the first.

    The first `width` of them are predicted from all before; then windows move on by `width − context` tokens, and the
    first that reaches a token predicts it.

    Args:
        network: returns `logits` `[1, T, V]`.
        tokens: with the one that begins a text.
        width: most tokens that are read at once.
        context: tokens that two windows share.
    """
    found = []
    for place in range(1, len(tokens)):
        first = 0
        while place - first > width:
            first += width - context
        scores = network(input_ids=torch.tensor([tokens[first:place]])).logits[0, -1].double()
        found.append(float(-scores.log_softmax(0)[tokens[place]]))
    return found
