"""Random networks of every supported architecture, a few thousand parameters each."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from plora.adapters import Adapters, LoRA

with warnings.catch_warnings():  # torch.jit announcements of third parties at import
    warnings.simplefilter("ignore")
    from transformers import (
        BertConfig,
        BertModel,
        DistilBertConfig,
        DistilBertModel,
        GPT2Config,
        GPT2LMHeadModel,
        GPT2Model,
        ModernBertConfig,
        ModernBertModel,
        RobertaConfig,
        RobertaModel,
        T5Config,
        T5Model,
        ViTConfig,
        ViTModel,
    )

WORDS = 50
_BERT = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
_GPT2 = GPT2Config(vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=40, bos_token_id=0, eos_token_id=0)
_NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=WORDS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=40)
    ),
    "bert": lambda: BertModel(BertConfig(**_BERT)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_BERT)),
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(
            **_BERT,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            cls_token_id=1,
            sep_token_id=2,
            attn_implementation="eager",
        )
    ),
    "gpt2": lambda: GPT2Model(_GPT2),
    "gpt2-lm": lambda: GPT2LMHeadModel(_GPT2),
    "vit": lambda: ViTModel(
        ViTConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=8, patch_size=4
        )
    ),
    "t5": lambda: T5Model(
        T5Config(vocab_size=WORDS, d_model=32, d_ff=64, d_kv=8, num_heads=4, num_layers=2, decoder_start_token_id=0)
    ),
}


def tiny(kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return _NETWORKS[kind]().eval()


def mlp(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)).to(dtype)


def outputs(network: nn.Module, seed: int = 0) -> Tensor:
    """What the network makes of a fixed random batch of three."""
    generator = torch.Generator().manual_seed(seed)
    kind = type(network).__name__
    if kind == "Sequential":
        inputs = torch.randn(3, 6, generator=generator).to(next(network.parameters()).dtype)
        return network(inputs)
    if kind.startswith("ViT"):
        pixels = torch.randn(3, 3, 8, 8, generator=generator).to(next(network.parameters()).dtype)
        return network(pixel_values=pixels).last_hidden_state
    inputs = {"input_ids": torch.randint(3, WORDS, (3, 7), generator=generator)}
    if kind.startswith("T5"):
        inputs["decoder_input_ids"] = torch.randint(3, WORDS, (3, 5), generator=generator)
    else:
        inputs["attention_mask"] = torch.ones(3, 7, dtype=torch.long)
    output = network(**inputs)
    return output.logits if "logits" in output else output.last_hidden_state


@torch.no_grad()
def fill(adapters: Adapters, name: str, seed: int = 1) -> None:
    """Give the open slot random A and B."""
    generator = torch.Generator().manual_seed(seed)
    for tensors in (adapters[name].A, adapters[name].B):
        for tensor in tensors.values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)


def add_slot(adapters: Adapters, name: str, rank: int = 2, commit: bool = True, dropout: float = 0.0) -> None:
    """Open a slot, fill it with random numbers, and commit it."""
    adapters.open_task(name, LoRA(rank=rank, alpha=3.0, dropout=dropout))
    fill(adapters, name, seed=len(adapters))
    if commit:
        adapters.commit()


def base_state(network: nn.Module) -> dict[str, Tensor]:
    """Every tensor that is not a slot's, by its name in the bare network."""
    return {
        name.replace(".base.", "."): tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if ".banks." not in name
    }


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_near(left: Tensor, right: Tensor, tolerance: float) -> None:
    """Equal up to `tolerance` times the largest value."""
    assert left.shape == right.shape
    assert (left - right).abs().max() <= tolerance * right.abs().max()
