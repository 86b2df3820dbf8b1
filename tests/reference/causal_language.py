"""What a causal language model says of a text, one token at a time; slow and obvious."""

from collections.abc import Sequence

import torch
from torch import nn


def surprise(network: nn.Module, prompt: Sequence[int], text: Sequence[int]) -> float:
    """− Σ log p(token | prompt, tokens before), the network run anew for each token."""
    read, total = list(prompt), 0.0
    for token in text:
        scores = network(input_ids=torch.tensor([read])).logits[0, -1].double()
        total -= float(scores[token] - scores.exp().sum().log())
        read.append(token)
    return total


def likeliest(network: nn.Module, prompt: Sequence[int], end: int, length: int) -> list[int]:
    """The text whose every token is the likeliest after those before it, without its end."""
    written: list[int] = []
    while len(written) < length:
        scores = network(input_ids=torch.tensor([[*prompt, *written]])).logits[0, -1]
        best = max(range(len(scores)), key=lambda token: float(scores[token]))
        if best == end:
            break
        written.append(best)
    return written
