"""A network for which a text is another one beside a longer text is refused when it is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    ConvBertConfig,
    ConvBertModel,
    FNetConfig,
    FNetModel,
    FunnelConfig,
    FunnelModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    XLNetConfig,
    XLNetModel,
)

from plora.backbones import BackboneConfig
from plora.errors import BackboneError
from plora.problems import TextClassification
from plora.problems.settings import TextClassificationSettings
from plora.testing.tiny import tiny_tokenizer

WORDS = len(tiny_tokenizer())
SIZES = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
LEAK: dict[str, Callable[[], PreTrainedModel]] = {
    "fnet": lambda: FNetModel(FNetConfig(**SIZES, max_position_embeddings=64, tpu_short_seq_length=64)),
    "funnel": lambda: FunnelModel(
        FunnelConfig(vocab_size=WORDS, d_model=16, n_head=2, d_head=8, d_inner=32, block_sizes=[1, 1])
    ),
    "convbert": lambda: ConvBertModel(ConvBertConfig(**SIZES, embedding_size=16, num_attention_heads=4)),
}
HEED: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: BertModel(BertConfig(**SIZES, num_attention_heads=2)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=2, n_head=2)),
    "xlnet": lambda: XLNetModel(XLNetConfig(vocab_size=WORDS, d_model=16, n_layer=2, n_head=2, d_inner=32)),
}


def load(network: PreTrainedModel, folder: Path) -> None:
    network.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    TextClassification.load(TextClassificationSettings(), BackboneConfig(id=str(folder), max_length=32))


@pytest.mark.parametrize("kind", LEAK)
def test_padding_that_reaches_features_is_refused(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LEAK[kind]()
    with pytest.raises(
        BackboneError, match=rf"backbone '.*': {type(network).__name__} lets padding reach its features"
    ):
        load(network, tmp_path)


@pytest.mark.parametrize("kind", HEED)
def test_a_network_that_heeds_its_mask_is_loaded(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    load(HEED[kind](), tmp_path)
