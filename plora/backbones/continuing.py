"""What a network writes after some tokens, or in answer to them: one call of its `generate` for all prompts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from plora.errors import ConfigError


@dataclass(frozen=True)
class Drawing:
    """How the next token is chosen: the likeliest one where nothing is set, else drawn.

        token ~ softmax over the tokens that are kept of: score / temperature

    Args:
        temperature: above 0; None is 1 where tokens are drawn.
        top_k: the k likeliest tokens are kept, k ≥ 1; None keeps all.
        top_p: the fewest likeliest tokens are kept that have this share of the probability together, in (0, 1]; None
            keeps all.

    Raises:
        ConfigError: a number is out of its range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        wrong = []
        if self.temperature is not None and not self.temperature > 0:
            wrong.append(
                f"temperature is {self.temperature:g}, expected more than 0; leave it out for the likeliest token"
            )
        if self.top_k is not None and self.top_k < 1:
            wrong.append(f"top_k is {self.top_k}, expected 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            wrong.append(f"top_p is {self.top_p:g}, expected more than 0, and at most 1")
        if wrong:
            raise ConfigError(wrong)

    @property
    def settings(self) -> dict[str, bool | int | float]:
        """What `GenerationConfig` is told."""
        if self == Drawing():
            return {"do_sample": False}
        return {
            "do_sample": True,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_k": self.top_k or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
        }


@torch.no_grad()
def continued(
    network: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    end: int,
    most: int,
    drawing: Drawing,
    told: Callable[[list[int]], object] | None = None,
) -> list[list[int]]:
    """Return the tokens that a network writes after each prompt, until it ends the text or has written `most`.

    Shorter prompts are filled up on the left: these places are masked, and positions count from a prompt's own start,
    so that a prompt has the same continuation whatever stands beside it. The encoder of an encoder-decoder counts
    positions from the left, and reads prompts that are filled up on the right.

    Args:
        network: a language model; its slots take part as its switch says.
        prompts: B sequences of at least one token.
        end: the token that ends a text; never among those that are returned.
        most: tokens to write after each.
        drawing: how the next token is chosen; whoever calls decides the random numbers.
        told: called with the new token of each prompt, `[B]`, as they come; an ended one goes on with `end`.
    """
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), end)
    mask = torch.zeros_like(ids)
    reads_first = bool(network.config.is_encoder_decoder)
    for row, tokens in enumerate(prompts):
        own = slice(len(tokens)) if reads_first else slice(width - len(tokens), None)
        ids[row, own], mask[row, own] = torch.tensor(tokens), 1
    start = {"decoder_start_token_id": network.config.decoder_start_token_id} if reads_first else {}
    settings = GenerationConfig(
        **drawing.settings, **start, max_new_tokens=most, pad_token_id=end, eos_token_id=end, use_cache=True
    )
    with _as_asked(network):
        written = network.generate(
            ids.to(network.device),
            attention_mask=mask.to(network.device),
            generation_config=settings,
            streamer=None if told is None else _Telling(told),
        )
    rows: list[list[int]] = written[:, 1 if reads_first else width :].tolist()
    return [row[: row.index(end)] if end in row else row for row in rows]


@contextmanager
def _as_asked(network: PreTrainedModel) -> Iterator[None]:
    """Leave out how its makers would have a network write, which `generate` takes for whatever is not set."""
    theirs, network.generation_config = network.generation_config, GenerationConfig()
    try:
        yield
    finally:
        network.generation_config = theirs


class _Telling(BaseStreamer):  # type: ignore[misc]  # transformers does not say its types
    """Calls with the new tokens; the first ones that `generate` puts are the prompts."""

    def __init__(self, told: Callable[[list[int]], object]) -> None:
        self.told, self.began = told, False

    def put(self, value: Tensor) -> None:
        """Take what was written."""
        if self.began:
            self.told(value.flatten().tolist())
        self.began = True

    def end(self) -> None:
        """Do nothing: who called has the tokens."""


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Let the network draw from a seed; the run's own random numbers go on as if undisturbed."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
