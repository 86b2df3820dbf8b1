"""Sentences of a few words whose tags the words decide, as files, and a BERT of two layers that knows the words."""

import json
import random
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

TYPES = {"animal": ["ant", "bee", "cow", "dog"], "metal": ["iron", "gold", "zinc", "lead"]}
MORE = {"fruit": ["fig", "plum", "pear", "lime"], "sea": ["reef", "tide", "wave", "gulf"]}
"""Types of entities and their words."""
PLAIN = ["the", "a", "of", "and", "in", "very", "old", "new", "small", "good"]
PIECES = ["##s", "##y", "##ish"]
"""What words may end in: a second piece."""


def tagged(types: dict[str, list[str]], number: int, seed: int) -> list[tuple[list[str], list[str]]]:
    """Return sentences of plain words and entities of one to three words, the later ones in two pieces."""
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        words, tags = [], []
        for _ in range(rng.randint(1, 3)):
            plain = rng.choices(PLAIN, k=rng.randint(1, 3))
            kind = rng.choice([*types])
            entity = [rng.choice(types[kind]) + rng.choice(["", "s", "ish"]) for _ in range(rng.randint(1, 2))]
            words += [*plain, *entity]
            tags += ["O"] * len(plain) + [f"B-{kind}"] + [f"I-{kind}"] * (len(entity) - 1)
        found.append((words, tags))
    return found


def write_sentences(path: Path, sentences: list[tuple[list[str], list[str]]]) -> str:
    """Write sentences as JSON lines or as columns, by the ending; return the path."""
    if path.suffix == ".jsonl":
        text = "".join(f"{json.dumps({'words': words, 'tags': tags})}\n" for words, tags in sentences)
    else:
        blocks = ["".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True)) for words, tags in sentences]
        text = "-DOCSTART- O\n\n" + "\n".join(blocks)
    path.write_text(text, encoding="utf-8")
    return str(path)


def stream_values(folder: Path, number: int = 40) -> dict[str, object]:
    """Return a stream of two tasks, one of columns and one of JSON lines."""
    tasks = []
    for at, (types, ending) in enumerate(((TYPES, ".conll"), (MORE, ".jsonl"))):
        name = "-".join(types)
        files = {
            split: write_sentences(folder / f"{name}-{split}{ending}", tagged(types, count, 10 * at + shift))
            for shift, (split, count) in enumerate({"train": number, "validation": 10, "test": 20}.items())
        }
        tasks.append({"name": name, **files})
    return {"kind": "tagged", "tasks": tasks}


def write_reader(folder: Path, max_length: int = 64) -> Path:
    """Write a BERT of two layers with random weights whose words come in pieces, as a `transformers` folder."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [word for types in (TYPES, MORE) for words in types.values() for word in words]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PLAIN, *known, *PIECES]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=max_length).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=max_length,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def values(folder: Path, reader: Path, **stream: object) -> dict[str, object]:
    """Return the values of a config that learns the two tasks in seconds."""
    return {
        "name": "tags",
        "stream": stream_values(folder) | stream,
        "problem": {"kind": "token_classification"},
        "method": "sequential",
        "backbone": {"id": str(reader), "max_length": 64},
        "lora": {"rank": 4, "alpha": 8, "targets": "all_linear", "dropout": 0},
        "training": {"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "early_stop": None, "log_every": 2},
        "output": str(folder / "runs"),
    }
