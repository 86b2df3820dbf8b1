"""Fixtures that many tests share: a tiny pretrained network on disk, and a stream that it can learn."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from plora.config import RunConfig, load_config
from plora.heads import random_features

# Tests fork, to be killed. The threads of `tokenizers` are not there in the child, which would wait for them forever.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# `make test` and `make test-all` try the same examples every time, the second more of them: what passes in one place
# passes in all.
settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=300, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("search", max_examples=2000, deadline=None, print_blob=True)  # by hand, for new mistakes
settings.load_profile("quick")

TOPICS = {
    "food": {"fruit": ["apple", "pear", "plum", "grape"], "bread": ["loaf", "crust", "rye", "bun"]},
    "travel": {"rail": ["train", "track", "platform", "ticket"], "air": ["plane", "runway", "pilot", "wing"]},
    "nature": {"sea": ["wave", "reef", "tide", "shell"], "wood": ["tree", "moss", "fern", "bark"]},
}
"""Three tasks of two classes; every class has its own four words."""

FILLER = ["the", "a", "of", "and", "in", "very", "old", "new", "small", "good"]


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights, and its tokenizer, as a `transformers` folder."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = [word for task in TOPICS.values() for words in task.values() for word in words]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    network = BertModel(config)
    network.embeddings.position_embeddings.weight.data.zero_()  # features are nearly a bag of words
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of two layers with random weights that knows the same words, as a `transformers` folder."""
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    words = [word for task in TOPICS.values() for words in task.values() for word in words]
    names = [name for task in TOPICS.values() for name in task]
    vocabulary = ["<end>", "<unk>", ":", *FILLER, *words, *names, "class", *"0123456789"]
    model = Tokenizer(WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    model.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token="<end>", eos_token="<end>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(vocabulary),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def toy_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """JSONL files of the toy stream: for each task `<task>-train` (60 texts) and `<task>-test` (20 texts)."""
    folder = tmp_path_factory.mktemp("toy")
    rng = random.Random(0)
    files = {}
    for task, classes in TOPICS.items():
        for split, count in (("train", 30), ("test", 10)):
            rows = []
            for label, words in classes.items():
                for _ in range(count):
                    chosen = [*rng.choices(FILLER, k=rng.randint(1, 5)), *rng.choices(words, k=3)]
                    rng.shuffle(chosen)
                    rows.append(json.dumps({"text": " ".join(chosen), "label": label}))
            files[f"{task}-{split}"] = folder / f"{task}-{split}.jsonl"
            files[f"{task}-{split}"].write_text("\n".join(rows), encoding="utf-8")
    return files


@pytest.fixture
def toy_values(tiny_backbone: Path, toy_files: dict[str, Path], tmp_path: Path) -> dict[str, object]:
    """The values of a config that learns the toy stream in seconds."""
    tasks = [
        {"name": task, "train": str(toy_files[f"{task}-train"]), "test": str(toy_files[f"{task}-test"])}
        for task in TOPICS
    ]
    return {
        "name": "toy",
        "stream": {"kind": "local", "name": "toy", "tasks": tasks},
        "scenario": "task",
        "method": "sequential",
        "backbone": {"id": str(tiny_backbone), "max_length": 16},
        "lora": {"rank": 4, "alpha": 8, "targets": "attention"},
        "training": {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "log_every": 2},
        "output": str(tmp_path / "runs"),
    }


@pytest.fixture
def toy_config(toy_values: dict[str, object]) -> Callable[..., RunConfig]:
    """Make a config of the toy stream: `toy_config("method=o_lora", "seed=1")`."""
    return lambda *overrides: load_config(toy_values, overrides)


@pytest.fixture(autouse=True)
def _few_random_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give RanPAC 50 columns: 2,000 take seconds per task, and toy texts have a few dozen words."""
    monkeypatch.setattr(random_features, "RANDOM_FEATURES", 50)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache out of the tests, and the tests out of it."""
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
