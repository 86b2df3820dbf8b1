"""Cross-entropy over a vocabulary, in chunks of positions: the scores of all words never stand whole in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx

_SCORES = 2**22
"""Numbers of one chunk: 16 MB in fp32."""


def token_nats(states: Tensor, words: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """Return − log softmax(W h + b)_y of each position, in fp32.

    Of states alone the gradient is computed on the way forward, where the scores are at hand; where words train, scores
    are computed again on the way back.

    Args:
        states: h, `[P, d]`; their type is that in which scores are computed.
        words: W, `[V, d]`.
        bias: b, `[V]`, or None.
        labels: y, `[P]` in 0 … V − 1.

    Returns:
        `[P]`.
    """
    found: Tensor = _TokenNats.apply(states, words, bias, labels)  # type: ignore[no-untyped-call]
    return found


@torch.no_grad()
def likeliest(states: Tensor, words: Tensor, bias: Tensor | None) -> Tensor:
    """Return argmax W h + b of each position, the first of equals.

    Args:
        states, words, bias: as `token_nats` has them.

    Returns:
        `[P]` int64.
    """
    found = torch.empty(len(states), dtype=torch.int64, device=states.device)
    for part, scores in _chunks(states, words.to(states.dtype), bias):
        found[part] = scores.argmax(1)
    return found


class _TokenNats(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, words: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        of_states, *of_words, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
        again = any(of_words)
        nats = torch.empty(len(states), dtype=torch.float32, device=states.device)
        slope = torch.empty_like(states) if of_states and not again else None
        near = words.to(states.dtype)
        for part, scores in _chunks(states, near, bias):
            total = scores.logsumexp(1)
            nats[part] = total - scores.gather(1, labels[part, None])[:, 0]
            if slope is not None:
                slope[part] = _slope(scores, total, labels[part]).to(near.dtype) @ near
        ctx.save_for_backward(*((states, words, bias, labels) if again else (slope,)))
        ctx.again = again  # type: ignore[attr-defined]
        return nats

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.again:  # type: ignore[attr-defined]
            (slope,) = ctx.saved_tensors  # type: ignore[attr-defined]
            return slope * gradient[:, None].to(slope.dtype), None, None, None
        states, words, bias, labels = ctx.saved_tensors  # type: ignore[attr-defined]
        near = words.to(states.dtype)
        of_states, of_words = torch.empty_like(states), torch.zeros_like(words)
        of_bias = None if bias is None else torch.zeros_like(bias)
        for part, scores in _chunks(states, near, bias):
            slope = _slope(scores, scores.logsumexp(1), labels[part]) * gradient[part, None]
            if of_bias is not None:
                of_bias += slope.sum(0)
            slope = slope.to(near.dtype)
            of_states[part] = slope @ near
            of_words += slope.T @ states[part]
        return of_states, of_words, of_bias, None


def _chunks(states: Tensor, words: Tensor, bias: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Yield some positions and their scores `[p, V]` in fp32."""
    size = max(1, _SCORES // len(words))
    for start in range(0, len(states), size):
        part = slice(start, start + size)
        scores = (states[part] @ words.T).float()
        yield part, scores if bias is None else scores + bias


def _slope(scores: Tensor, total: Tensor, labels: Tensor) -> Tensor:
    """softmax(z) − onehot(y), in the place of z."""
    slope = scores.sub_(total[:, None]).exp_()
    slope[torch.arange(len(labels), device=labels.device), labels] -= 1
    return slope
