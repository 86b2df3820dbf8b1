"""A T5 of two blocks on each side with random weights, as a folder in the hub's layout, and two tasks of answers."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

COLOURS = {"sky": ("deep blue", "light grey"), "sea": ("green", "black sand")}
"""Two tasks; the answer is said in the prompt."""
_WORDS = ["te", "tr", "va", ":", *"0123456789", "deep", "blue", "light", "grey", "green", "black", "sand", "is", "it"]


def write_t5(folder: Path, kind: type[T5ForConditionalGeneration] = T5ForConditionalGeneration) -> Path:
    """Write network and tokenizer; what ends a text stands after each, as T5's own has it."""
    vocabulary = ["<pad>", "</s>", "<unk>", *_WORDS]
    model = Tokenizer(WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    model.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(vocabulary),
        d_model=32,
        d_ff=64,
        d_kv=8,
        num_heads=4,
        num_layers=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        initializer_factor=1.0,
    )
    kind(config).save_pretrained(folder)
    return folder


def stream_values(folder: Path, number: int = 12) -> dict[str, object]:
    """Write both tasks as files of classes, and return the stream that asks for them."""
    tasks = []
    for task, classes in COLOURS.items():
        paths = {}
        for split, count in (("train", number), ("validation", 4), ("test", 9)):
            rows = []
            for at in range(count):
                said, label = classes[at % 2], classes[(at + (split == "test" and at % 3 == 0)) % 2]
                rows.append({"text": f"{split[:2]} {at} {said}", "label": label})
            paths[split] = folder / f"{task}-{split}.jsonl"
            paths[split].write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        tasks.append({"name": task, **{split: str(path) for split, path in paths.items()}})
    return {"kind": "text_to_text", "of": {"kind": "local", "tasks": tasks}, "prompt": "{text} :"}


def values(folder: Path, network: Path) -> dict[str, object]:
    """Return the values of a config that learns the two tasks in seconds."""
    return {
        "name": "answers",
        "stream": stream_values(folder),
        "problem": {"kind": "text_to_text"},
        "method": "sequential",
        "backbone": {"id": str(network), "max_length": 32},
        "lora": {"rank": 8, "alpha": 16, "targets": "all_linear", "dropout": 0},
        "training": {
            "epochs": 20,
            "batch_size": 12,
            "learning_rate": 0.02,
            "weight_decay": 0,
            "early_stop": None,
            "log_every": 2,
        },
        "output": str(folder / "runs"),
    }
