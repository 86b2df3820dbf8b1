"""Partitions that a real AV1 encoder chose, from small blocks of luma: `python -m benchmarks.blocks`.

Stage 1 (is a block divided?) pretrains a ResNet-18; stage 2 (SPLIT, RECT or AB) adapts it, in the ways that the table
compares. What is complete is read, what was cut goes on. `--quick` does all of it in a minute or two, with a tiny
network and few blocks, and writes beside its runs what says nothing about blocks.

Needs p16_balanced.parquet (columns luma, label, split, cq_level) and partition_types.txt in the folder `--data`.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from pydantic import JsonValue
from transformers import AutoConfig, AutoModel

from benchmarks import evidence
from plora import atomic
from plora.adapters.settings import Bottleneck
from plora.adapters.slots import Adapters
from plora.build import Workspace
from plora.config import RunConfig, load_config, put
from plora.results import read_record
from plora.results.tables.all_metrics import metrics_of_path
from plora.runs import resume, run
from plora.runs.pretraining import pretrain
from plora.streams.blocks import BlockArray, Blocks
from plora.sweep.plan import SweepRun

TYPES = ("NONE", "HORZ", "VERT", "SPLIT", "HORZ_A", "HORZ_B", "VERT_A", "VERT_B", "HORZ_4", "VERT_4")
RESNET_18: dict[str, object] = {
    "model_type": "resnet",
    "num_channels": 2,
    "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512],
    "depths": [2, 2, 2, 2],
    "layer_type": "basic",
}
TINY = RESNET_18 | {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
NAME = "benchmarks.blocks"
POOLED: dict[str, object] = {"width": 64, "after": "stage", "form": "pooled", "dropout": 0.1}
GRADUAL = [
    {"train": ["head"], "epochs": 1},
    {"train": ["head", r"stages\.3"], "epochs": 1},
    {"train": ["head", r"stages\.[23]"], "epochs": 1},
    {"train": ["head", "backbone"], "epochs": 5},
]
FLAT: dict[str, object] = {"stream.data.map": None, "stream.train_per_class": None, "training.epochs": 4}
"""All ten types, of all training blocks."""
HEAD = {"part": "head", "learning_rate": 0.005}
ROUNDS = 31
"""Forward passes of each kind whose median is taken."""


def ways(network: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Row of the table → settings in which it differs from the pooled adapters."""
    whole: dict[str, object] = {"method": "full", "bottleneck": None, "training.learning_rate": 0.0003}
    slots: dict[str, object] = {"bottleneck": None}
    new: dict[str, object] = {"kind": "new", "network": dict(network), "image": {"size": 32}}
    decayed = [HEAD, {"part": "backbone", "layer_decay": 1 / 2.6}]
    return {
        "frozen": {"method": "frozen", **slots},
        "pooled adapters": {},
        "pooled, stages 3-4": {"bottleneck.stages": [3, 4]},
        "1 × 1, parallel": {**slots, "pointwise": {"form": "parallel"}},
        "1 × 1, series": {**slots, "pointwise": {"form": "series"}},
        "LoRA on convolutions": {**slots, "lora": {"rank": 8, "targets": "all_conv"}},
        "full": whole,
        "full, thawed by stages": {**whole, "training.groups": decayed, "phases": GRADUAL},
        "full, from scratch": {**whole, "backbone": new},
        "pooled, each quantiser": {"stream.by": "quantisers", "stream.train_per_class": 250},
        "flat, pooled": FLAT,
        "flat, full": {**whole, **FLAT},
    }


def config_of(data: Path, output: Path, quick: bool, settings: Mapping[str, object]) -> RunConfig:
    """A run of stage 2, with what a row differs in."""
    values: dict[str, object] = {
        "problem": {"kind": "image_classification", "loss": {"gamma": 2.0, "beta": 0.9999}, "score": "macro_f1"},
        "stream": {
            "kind": "blocks",
            "data": {
                "kind": "parquet",
                "train": str(data / "p16_balanced.parquet"),
                "label_names": str(data / "partition_types.txt"),
                "split": "split",
                "quantiser": "cq_level",
                "bits": 8,
                "map": {name: _second_stage(name) for name in TYPES},
            },
            "quantiser_channel": 63,
            "train_per_class": 1000,
        },
        "scenario": "task",
        "method": "per_task",
        "lora": None,
        "bottleneck": dict(POOLED),
        "backbone": {"id": f"pretrained:{NAME}"},
        "training": {
            "epochs": 8,
            "learning_rate": 0.001,
            "weight_decay": 0.0001,
            "groups": [HEAD],
            "head_dropout": 0.5,
            "schedule": "cosine",
            "schedule_floor": 0.01,
            "early_stop": 4,
            "batch_size": 64,
        },
        "output": str(output),
    }
    few: dict[str, object] = {"stream.train_per_class": 30, "stream.test_per_class": 20, "training.epochs": 1}
    for key, value in (dict(settings) | (few if quick else {})).items():
        put(values, key, value)
    return load_config(values)


def _second_stage(name: str) -> str | None:
    if name in ("HORZ", "VERT"):
        return "RECT"
    return "AB" if name.endswith(("_A", "_B")) else "SPLIT" if name == "SPLIT" else None


def first_stage(data: Path, output: Path, quick: bool, network: Mapping[str, object]) -> Path:
    """Pretrain the backbone on NONE against the rest, and return its folder."""
    settings: dict[str, object] = {
        "stream.data.map": {name: "NONE" if name == "NONE" else "PARTITION" for name in TYPES},
        "method": "full",
        "bottleneck": None,
        "backbone": {"kind": "new", "network": dict(network), "image": {"size": 32}},
        "training.groups": [],
        "training.head_dropout": 0.0,
        "stream.train_per_class": 2000,
    }
    return pretrain(config_of(data, output, quick, settings), NAME)


def row(name: str, folder: Path) -> dict[str, JsonValue]:
    """What one run of the table is; of a class that several tasks have, the mean over them."""
    record, found = read_record(folder), metrics_of_path(folder)
    scores = found.classes
    names = dict.fromkeys(score.name for score in scores)
    support = sum(score.support for score in scores)
    hits = sum(score.recall * score.support for score in scores if score.support)
    return {
        "way": name,
        "seed": record.seed,
        "macro_f1": sum(score.f1 for score in scores) / len(scores),
        "accuracy": hits / support,
        "f1": {name: fmean(score.f1 for score in scores if score.name == name) for name in names},
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
        "train_blocks": sum(task.train for task in record.data),
        "test_blocks": sum(task.test for task in record.data),
    }


def forest(config: RunConfig) -> dict[str, JsonValue]:
    """A random forest on the samples and the quantiser: what no network is needed for."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import accuracy_score, f1_score

    assert isinstance(config.stream, Blocks)
    (task,) = config.stream.load().tasks
    train, test = task.train, task.test
    assert isinstance(train, BlockArray)
    assert isinstance(test, BlockArray)
    flat = [split.pixels.reshape(len(split), -1) for split in (train, test)]
    fitted = RandomForestClassifier(300, random_state=0).fit(flat[0], train.labels)
    answers = fitted.predict(flat[1])
    return {
        "accuracy": float(accuracy_score(test.labels, answers)),
        "macro_f1": float(f1_score(test.labels, answers, average="macro")),
        "classes": len(task.label_names),
    }


def forward_time(network: Mapping[str, object], rounds: int) -> dict[str, JsonValue]:
    """Milliseconds of a forward pass at 64 × 64, 16 blocks, without and with pooled adapters after each stage."""
    settings = {key: value for key, value in network.items() if key != "model_type"}
    torch.manual_seed(0)
    plain = AutoModel.from_config(AutoConfig.for_model("resnet", **settings)).eval()
    images = torch.randn(16, 2, 64, 64)
    adapted = AutoModel.from_config(AutoConfig.for_model("resnet", **settings)).eval()
    adapters = Adapters.inject(adapted, None, bottleneck=Bottleneck.model_validate(POOLED))
    adapters.open_task("blocks")
    adapters.commit()
    passes: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(pixel_values=images),
        "pooled": lambda: adapted(pixel_values=images),
    }
    times: dict[str, list[float]] = {name: [] for name in passes}
    with torch.no_grad():
        for number in range(rounds + 3):
            for name, one in passes.items():
                started = time.perf_counter()
                one()
                if number >= 3:  # the first are slower
                    times[name].append(1000 * (time.perf_counter() - started))
    ratio = median(one / other for one, other in zip(times["pooled"], times["plain"], strict=True))
    return {"plain_ms": median(times["plain"]), "pooled_ms": median(times["pooled"]), "ratio": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/blocks"))
    parser.add_argument("--output", type=Path, default=Path("runs/blocks-encoder"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    network = TINY if given.quick else RESNET_18
    seeds = 1 if given.quick else given.seeds
    output = given.output / "quick" if given.quick else given.output
    backbone = first_stage(given.data, output, given.quick, network)
    stage_1 = json.loads((backbone / "pretraining-results.json").read_text(encoding="utf-8"))
    workspace, rows = Workspace(), list[JsonValue]()
    for name, settings in ways(network).items():
        for seed in range(seeds):
            folder_name = "-".join(name.replace("×", "x").replace(",", "").split())
            config = config_of(given.data, output, given.quick, settings | {"seed": seed, "name": folder_name})
            state = SweepRun(f"{name}, seed {seed}", config).state()
            if state == "new":
                run(config, workspace=workspace)
            elif state == "cut":
                resume(config.folder, workspace=workspace)
            rows.append(row(name, config.folder))
    flat = config_of(given.data, output, given.quick, FLAT)
    numbers: dict[str, JsonValue] = {
        "stage_1_macro_f1": float(np.asarray(stage_1["matrix"], float)[-1, -1]),
        "runs": rows,
        "forest": forest(flat),
        "forward": forward_time(RESNET_18, 3 if given.quick else ROUNDS),
    }
    if given.quick:
        atomic.write_json(output / "blocks.json", numbers)
        print(f"wrote {output / 'blocks.json'}", flush=True)
    else:
        evidence.write("blocks", numbers)


if __name__ == "__main__":
    main()
