"""Cross-entropy over a vocabulary in chunks is that of the whole, in value and gradients."""

from collections.abc import Callable, Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from plora.problems import vocabulary_loss
from plora.problems.vocabulary_loss import likeliest, token_nats


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("words_train", [True, False])
@pytest.mark.parametrize("scores_at_once", [1, 70, 10_000])
def test_chunks_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, biased: bool, words_train: bool, scores_at_once: int
) -> None:
    monkeypatch.setattr(vocabulary_loss, "_SCORES", scores_at_once)
    torch.manual_seed(0)
    states = torch.randn(13, 6, requires_grad=True)
    words = torch.randn(23, 6, requires_grad=words_train)
    bias = torch.randn(23, requires_grad=words_train) if biased else None
    labels, weights = torch.randint(23, (13,)), torch.rand(13)
    asked = [tensor for tensor in (states, words, bias) if tensor is not None and tensor.requires_grad]
    found, expected = token_nats(states, words, bias, labels), _whole(states, words, bias, labels)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad((found * weights).sum(), asked)
    for got, wanted in zip(gradients, torch.autograd.grad((expected * weights).sum(), asked), strict=True):
        torch.testing.assert_close(got, wanted)


def test_states_in_bf16_have_scores_in_bf16_as_a_head_under_autocast_has() -> None:
    torch.manual_seed(0)
    states, words = torch.randn(5, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    labels = torch.randint(11, (5,))
    with torch.autocast("cpu", torch.bfloat16):
        expected = F.cross_entropy(F.linear(states, words).float(), labels, reduction="none")
    found = token_nats(states.bfloat16(), words, None, labels)
    torch.testing.assert_close(found, expected)
    (got,), (wanted,) = (torch.autograd.grad(nats.sum(), [words]) for nats in (found, expected))
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05)


class _Largest(TorchDispatchMode):
    """The most numbers of a tensor that was made."""

    numbers = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("words_train", [True, False])
def test_scores_never_stand_whole_in_memory(monkeypatch: pytest.MonkeyPatch, words_train: bool) -> None:
    monkeypatch.setattr(vocabulary_loss, "_SCORES", 500)
    states, words = torch.randn(64, 4, requires_grad=True), torch.randn(100, 4, requires_grad=words_train)
    with _Largest() as largest:
        token_nats(states, words, None, torch.randint(100, (64,))).sum().backward()
    assert largest.numbers <= 500 < 64 * 100


def test_the_likeliest_word_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_loss, "_SCORES", 250)
    states, words, bias = torch.randn(33, 4), torch.randn(50, 4), torch.randn(50)
    words[7] = words[3]
    bias[7] = bias[3] = 9.0  # equals: the first
    with _Largest() as largest:
        found = likeliest(states, words, bias)
    assert found.tolist() == F.linear(states, words, bias).argmax(1).tolist()
    assert 7 not in found.tolist()
    assert largest.numbers <= 250
    assert likeliest(states[:0], words, None).shape == (0,)


def test_of_no_position_there_are_no_nats() -> None:
    nats = token_nats(torch.empty(0, 4, requires_grad=True), torch.randn(7, 4), None, torch.empty(0, dtype=torch.long))
    nats.sum().backward()
    assert nats.shape == (0,)


def _whole(states: Tensor, words: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(states, words, bias), labels, reduction="none")
