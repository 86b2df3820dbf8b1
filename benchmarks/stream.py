"""Five text tasks, one after the other, one shared LoRA and a head each: `plora run` against plain PEFT loops.

Contestants, all with the same data, seeds, steps, learning rate and evaluation after every task:
`padded` is the loop most people write (PEFT in train mode, every text padded to 128 tokens);
`tuned` is PEFT at its best (eval mode, batches padded to their own longest text, texts scored by length);
`plora` is a whole run, with its row 0, checkpoints and record. Ratios > 1 mean plora is faster; each contestant
counts with its fastest seed, because what else a machine does can only make a run of minutes slower.
"""

import argparse
import contextlib
import copy
import io
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from benchmarks import evidence
from benchmarks.networks import QKV, trainable
from plora.atomic import JsonValue
from plora.backbones import BackboneConfig, load_backbone
from plora.config import RunConfig, load_config
from plora.results import read_record
from plora.runs import run
from plora.streams.base import Split, Stream

TASKS = ("yelp", "amazon", "dbpedia", "yahoo", "agnews")
BATCH, LENGTH, RATE = 16, 128, 1e-3


def cut(data: Path, texts: int, tests: int, folder: Path) -> Path:
    """Copy the five tasks with `texts` training and `tests` test texts each, as many of each class."""
    for name in TASKS:
        (folder / name).mkdir(parents=True)
        shutil.copy(data / name / "labels.txt", folder / name / "labels.txt")
        for file, count in (("train.parquet", texts), ("test.parquet", tests)):
            whole = pq.read_table(data / name / file)
            labels = whole.column("label").to_numpy()
            each = max(2, count // len(np.unique(labels)))
            rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in np.unique(labels)]))
            pq.write_table(whole.take(rows), folder / name / file)
    return folder


def plora_config(data: Path | None, texts: int, seed: int, precision: str, output: str) -> RunConfig:
    """One shared slot through the five tasks, one epoch each; docstring skills where the texts are absent."""
    stream: dict[str, JsonValue] = {"kind": "docstring_skills", "train_per_task": texts}
    if data is not None:
        tasks: list[dict[str, JsonValue]] = [
            {
                "name": name,
                "train": str(data / name / "train.parquet"),
                "test": str(data / name / "test.parquet"),
                "label_names": str(data / name / "labels.txt"),
            }
            for name in TASKS
        ]
        stream = {"kind": "local", "tasks": tasks, "validation_fraction": 0.01}
    return load_config(
        {
            "stream": stream,
            "scenario": "task",
            "method": "sequential",
            "backbone": {"max_length": LENGTH},
            "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "attention:qkv"},
            "training": {
                "epochs": 1,
                "learning_rate": RATE,
                "batch_size": BATCH,
                "schedule": "constant",
                "warmup": 0.0,
                "precision": precision,
            },
            "seed": seed,
            "output": output,
        }
    )


def plora_run(config: RunConfig) -> float:
    """A whole run, silent; returns the mean accuracy over all tasks at the end."""
    with contextlib.redirect_stdout(io.StringIO()):
        folder = run(config)
    return float(read_record(folder).matrix[-1].mean())


class PlainLoop:
    """What a user writes with PEFT: tokenise, loop over tasks, loop over batches, evaluate the tasks so far."""

    def __init__(self, stream: Stream, seed: int, precision: str, tuned: bool) -> None:
        torch.manual_seed(seed)
        backbone = load_backbone(BackboneConfig())
        self.tokenizer: PreTrainedTokenizerBase = backbone.tokenizer
        lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=QKV)
        self.network: nn.Module = get_peft_model(copy.deepcopy(backbone.network), lora)
        self.stream, self.tuned, self.seed = stream, tuned, seed
        self.heads = [nn.Linear(backbone.width, len(task.label_names)) for task in stream.tasks]
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")

    def run(self) -> float:
        """Learn all tasks; returns the mean accuracy over all tasks at the end."""
        accuracies: list[float] = []
        for position, task in enumerate(self.stream.tasks):
            head = self.heads[position]
            optimizer = torch.optim.AdamW([*trainable(self.network), *head.parameters()], lr=RATE)
            self.network.train(not self.tuned)
            order = np.random.default_rng(self.seed).permutation(len(task.train))
            for inputs, labels in self.batches(task.train, order):
                loss = F.cross_entropy(self.logits(inputs, head), labels)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_([*trainable(self.network), *head.parameters()], 1.0)
                optimizer.step()
                optimizer.zero_grad()
            self.network.eval()
            seen = self.stream.tasks[: position + 1]
            accuracies = [self.accuracy(other.test, self.heads[i]) for i, other in enumerate(seen)]
        return float(np.mean(accuracies))

    def batches(self, split: Split, order: NDArray[np.int64]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Tokenised batches, padded to 128 or to the longest text of the batch."""
        assert split.labels is not None
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            texts = split.read(chosen)
            padding = "longest" if self.tuned else "max_length"
            encoded = self.tokenizer(texts, padding=padding, truncation=True, max_length=LENGTH, return_tensors="pt")
            yield dict(encoded), torch.from_numpy(split.labels[chosen])

    def logits(self, inputs: dict[str, Tensor], head: nn.Module) -> Tensor:
        """Mean pooling and the task's head."""
        with self.autocast:
            states = self.network(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            scores: Tensor = head((states * mask).sum(1) / mask.sum(1)).float()
        return scores

    @torch.no_grad()
    def accuracy(self, split: Split, head: nn.Module) -> float:
        """Share of right predictions."""
        order = np.arange(len(split))
        if self.tuned:
            order = np.argsort([len(str(text)) for text in split.read(order)])
        right = 0
        for inputs, labels in self.batches(split, order):
            right += int((self.logits(inputs, head).argmax(1) == labels).sum())
        return right / len(split)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/text"), help="folder with a folder per task")
    parser.add_argument("--texts", type=int, default=1000, help="training texts per task, about")
    parser.add_argument("--tests", type=int, default=500, help="test texts per task, about")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    accuracy: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = cut(options.data, options.texts, options.tests, Path(folder) / "data") if options.data.is_dir() else None
        stream = plora_config(data, options.texts, 0, "fp32", folder).stream.load()
        small = cut(options.data, 28, 14, Path(folder) / "small") if data else None
        plora_run(plora_config(small, 20, 99, "fp32", folder))  # first call: kernels, tokeniser, file cache
        for seed in range(options.seeds):
            for precision in ("fp32", "bf16"):
                config = plora_config(data, options.texts, seed, precision, f"{folder}/{precision}")
                for name in ("plora", "tuned", "padded"):
                    started = time.perf_counter()
                    if name == "plora":
                        result = plora_run(config)
                    else:
                        result = PlainLoop(stream, seed, precision, tuned=name == "tuned").run()
                    seconds.setdefault(f"{name}_{precision}", []).append(time.perf_counter() - started)
                    accuracy.setdefault(f"{name}_{precision}", []).append(result)
                    taken = seconds[f"{name}_{precision}"][-1]
                    print(seed, name, precision, f"{taken:.0f} s  {result:.3f}", flush=True)
    fastest = {name: min(values) for name, values in seconds.items()}
    evidence.write(
        "stream",
        {
            "data": "five texts" if data else "docstring skills",
            "train_texts": [len(task.train) for task in stream.tasks],
            "test_texts": [len(task.test) for task in stream.tasks],
            "seeds": options.seeds,
            "seconds": {name: round(value, 1) for name, value in fastest.items()},
            "seconds_of_each_seed": {name: [round(value, 1) for value in values] for name, values in seconds.items()},
            "accuracy": {name: round(float(np.mean(values)), 4) for name, values in accuracy.items()},
            "standard_error": {
                name: round(float(np.std(values, ddof=1) / len(values) ** 0.5), 4) if len(values) > 1 else None
                for name, values in accuracy.items()
            },
            "speedup": {
                f"{precision}_vs_{peer}": round(fastest[f"{peer}_{precision}"] / fastest[f"plora_{precision}"], 2)
                for precision in ("fp32", "bf16")
                for peer in ("padded", "tuned")
            }
            | {"bf16_vs_padded_fp32": round(fastest["padded_fp32"] / fastest["plora_bf16"], 2)},
        },
    )
    print(json.dumps(fastest))


if __name__ == "__main__":
    main()
