"""What a network writes after tokens, in one call for a ragged batch, is what each prompt alone gets the slow way."""

import pytest
import torch
from reference.greedy_text import likeliest_tokens
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from plora.adapters import Adapters, LoRA, Route
from plora.adapters.route import side_by_side
from plora.backbones.continuing import Drawing, continued, drawing_from
from plora.errors import AdapterError, ConfigError

END = 40
PROMPTS = [[END, 3, 1, 4, 1, 5], [END], [END, 9, 2], [END, 6, 5, 3, 5, 8, 9, 7, 9]]
SIZES = {"vocab_size": 41, "initializer_range": 0.4, "bos_token_id": END, "eos_token_id": END}


def network(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**SIZES, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES, **sizes)).eval()
    mistral = MistralConfig(**SIZES, **sizes, num_key_value_heads=1, sliding_window=4)  # of prompts and texts alike
    return MistralForCausalLM(mistral).eval()


def with_slots(kind: str, *names: str) -> tuple[PreTrainedModel, Adapters]:
    found = network(kind)
    adapters = Adapters.inject(found, "all_linear")
    for name in names:
        adapters.open_task(name, LoRA(rank=2, alpha=8))
        for parameter in adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        adapters.commit()
    return found, adapters


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
def test_a_ragged_batch_with_a_cache_is_each_prompt_alone_without_one(kind: str) -> None:
    found, adapters = with_slots(kind, "a")
    with adapters.using("a"):
        written = continued(found, PROMPTS, END, 12, Drawing())
        assert written == [likeliest_tokens(found, prompt, END, 12) for prompt in PROMPTS]
    assert len({tuple(tokens) for tokens in written}) == len(PROMPTS)  # positions and prompts decide


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_prompts_of_several_tasks_in_one_pass_are_each_alone_with_its_task(kind: str) -> None:
    found, adapters = with_slots(kind, "a", "b", "c")
    half = Route(("c", "b"), torch.tensor([0.5, -1.0]))
    routes = [Route(("b",)), half, Route(("a",)), Route()]
    together = side_by_side(routes, adapters.names, torch.device("cpu"))
    assert together.slots == ("a", "b", "c")
    with adapters.using(together):
        written = continued(found, PROMPTS, END, 12, Drawing())
    for prompt, route, own in zip(PROMPTS, routes, written, strict=True):
        with adapters.using(route):
            assert own == likeliest_tokens(found, prompt, END, 12), route
    assert len(written[0]) > 3


def test_routes_that_are_no_row_of_coefficients_do_not_stand_side_by_side() -> None:
    device = torch.device("cpu")
    with pytest.raises(AdapterError, match="coefficients per layer is no row"):
        side_by_side([Route(("a",)), Route(("a",), torch.ones(3, 1), "layer")], ["a"], device)
    with pytest.raises(AdapterError, match="mixing is no row"):
        side_by_side([Route(("a",), mixing={"0": torch.eye(2)})], ["a"], device)
    with pytest.raises(AdapterError, match="folded is no row"):
        side_by_side([Route(("a",), folded=True)], ["a"], device)


def test_what_is_drawn_follows_from_the_seed_and_the_tokens_that_are_kept() -> None:
    found = network("gpt2")

    def drawn(seed: int, drawing: Drawing) -> list[list[int]]:
        with drawing_from(seed):
            return continued(found, PROMPTS, END, 12, drawing)

    hot = Drawing(temperature=2.0)
    assert drawn(0, hot) == drawn(0, hot) != drawn(1, hot)
    likeliest = drawn(0, Drawing())
    assert (
        drawn(0, Drawing(temperature=1e-3)) == drawn(0, Drawing(top_k=1)) == drawn(0, Drawing(top_p=1e-6)) == likeliest
    )
    found.generation_config.do_sample, found.generation_config.max_length = True, 3  # as its makers would have it
    found.generation_config.repetition_penalty = 5.0
    assert drawn(0, Drawing()) == likeliest
    assert found.generation_config.max_length == 3


def test_each_token_is_told_as_it_comes() -> None:
    told: list[list[int]] = []
    written = continued(network("gpt2"), PROMPTS, END, 5, Drawing(), told.append)
    for row, tokens in enumerate(written):
        assert [new[row] for new in told][: len(tokens)] == tokens


def test_numbers_that_draw_nothing_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        Drawing(temperature=0.0, top_k=0, top_p=1.5)
    assert str(caught.value).splitlines() == [
        "temperature is 0, expected more than 0; leave it out for the likeliest token",
        "top_k is 0, expected 1 or more",
        "top_p is 1.5, expected more than 0, and at most 1",
    ]
