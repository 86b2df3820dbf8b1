"""Causal language models of two layers with random weights, and documents for them."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from plora.backbones import BackboneConfig, TextBackbone
from plora.backbones.byte_pairs import learn_byte_pairs, read_byte_pairs
from plora.problems import CausalLM
from plora.problems.settings import CausalLMSettings
from plora.streams.base import Split, Stream, StreamSource, Task, Texts
from plora.streams.documents import Documents

TEXTS = (
    "the cat sat on the mat, and the dog sat beside it",
    "x",
    "naïve café — ünïcode",
    "a longer one that goes on and on and on, and then on and on and on, until it is longer than a row",
    "the end <|end|> is not the end",
    "two\nlines",
    "seven",
)
SHAPES: dict[str, dict[str, object]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    },
}
SHAPES["qwen2"] = {**SHAPES["llama"], "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}
SHAPES["mistral"] = {**SHAPES["llama"], "sliding_window": 4}


def network(kind: str, words: int = 300, **more: object) -> PreTrainedModel:
    """Return a network; its weights are so large that what it reads matters."""
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    settings = {**SHAPES.get(kind, {}), **ends, "vocab_size": words, "initializer_range": 0.3, **more}
    made: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    return made.eval()


def write(folder: Path, kind: str = "gpt2", words: int = 300, **more: object) -> Path:
    """Write a network and a tokenizer that was learned from `TEXTS`."""
    network(kind, words, **more).save_pretrained(folder)
    read_byte_pairs(learn_byte_pairs(TEXTS, words), 64).save_pretrained(folder)
    return folder


def load(folder: Path, width: int = 16, **settings: object) -> tuple[CausalLM, PreTrainedModel]:
    """Return the problem on a network, and the network."""
    chosen, config = CausalLMSettings(**settings), BackboneConfig(id=str(folder), max_length=width)  # type: ignore[arg-type]
    backbone = CausalLM.load(chosen, config)
    return CausalLM.around(chosen, backbone, config, None), backbone.network


def around(made: PreTrainedModel, width: int = 16, words: int = 300, **settings: object) -> CausalLM:
    """Return the problem on a network that has no files."""
    chosen, config = CausalLMSettings(**settings), BackboneConfig(id="made", max_length=width)  # type: ignore[arg-type]
    tokenizer = read_byte_pairs(learn_byte_pairs(TEXTS, words), 64)
    return CausalLM.around(chosen, TextBackbone(made, 32, "", "made", tokenizer, "mean"), config, None)


class WrittenStream(StreamSource):
    """Made-up languages: each task has words of its own."""

    kind: Literal["tiny_writers:WrittenStream"] = "tiny_writers:WrittenStream"
    languages: tuple[str, ...] = ("the cat sat on a mat", "un deux trois quatre cinq")
    documents: int = 12
    labelled: bool = False
    """Texts of two classes, which no language model takes."""

    def load(self) -> Stream:
        """Draw the documents of each task."""
        tasks = []
        for number, language in enumerate(self.languages):
            splits: list[Split] = []
            for split in range(3):
                rng = np.random.default_rng([number, split])
                words = language.split() or [""]
                texts = tuple(" ".join(rng.choice(words, rng.integers(2, 9))).strip() for _ in range(self.documents))
                labels = np.arange(self.documents) % 2
                splits.append(Texts(texts, labels) if self.labelled else Documents(texts))
            tasks.append(Task(f"language {number + 1}", ("even", "odd") if self.labelled else (), *splits))
        return Stream("languages", tuple(tasks), ("task", "domain"))
