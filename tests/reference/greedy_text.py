"""Greedy continuations the slow way: one prompt, no cache, no mask, the whole text read again for every token."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def likeliest_tokens(network: nn.Module, prompt: list[int], end: int, most: int) -> list[int]:
    """The tokens y_t = argmax p(y | prompt, y_1 … y_(t−1)) until the end of the text, which is left out."""
    written: list[int] = []
    while len(written) < most:
        scores: Tensor = network(input_ids=torch.tensor([prompt + written]), use_cache=False).logits[0, -1]
        token = int(scores.argmax())
        if token == end:
            break
        written.append(token)
    return written
