"""Partitions of small blocks of luma: `python -m benchmarks.blocks ways streams cascade`.

`ways`: what a real AV1 encoder chose; stage 1 (is a block divided?) pretrains a ResNet-18, stage 2 (SPLIT, RECT or AB)
adapts it, in the ways that the table compares. `streams`: all ten types, learned content after content and quantiser
after quantiser. `cascade`: blocks of photographs whose search says what every type costs, a tree against a flat run.
What is complete is read, what was cut goes on. `--quick` does all of it in a minute or two, with a tiny network and few
blocks, and writes beside its runs what says nothing about blocks.

`ways` and `streams` need p16_balanced.parquet (columns luma, label, split, cq_level, domain) and partition_types.txt in
the folder `--data`.
`ways` has a row of a MobileNetV2 that has seen ImageNet alone where `--imagenet` is its folder.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from plora.cascade import RESULT_FILE, cascade_of_runs, evaluate_cascade
from plora.config import RunConfig, load_config, put
from plora.configs import find_config
from plora.results import read_record
from plora.results.record.cascade_result import read_cascade_result
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
NARROW = RESNET_18 | {"embedding_size": 32, "hidden_sizes": [32, 64, 128, 256]}
"""For the few blocks of three photographs."""
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
PARTS = ("ways", "streams", "cascade")
STREAMS = ("domains", "quantisers")
METHODS = ("sequential", "lwf", "replay", "joint")
"""Of `streams`, where the classes are the same in every task."""
LEAVES: dict[str, str | None] = {
    "NONE": "NONE",
    "SPLIT": "SPLIT",
    **dict.fromkeys(("HORZ", "VERT"), "RECT"),
    **dict.fromkeys(("HORZ_A", "HORZ_B", "VERT_A", "VERT_B"), "AB"),
    **dict.fromkeys(("HORZ_4", "VERT_4"), None),
}
NODES = {"stage 1": ["NONE", "stage 2"], "stage 2": ["SPLIT", "RECT", "AB"]}
HEAD = {"part": "head", "learning_rate": 0.005}
ANSWERED = {
    "frozen": (
        *("method=frozen", "head=ridge", "bottleneck=null", "problem={kind: image_classification, score: macro_f1}"),
        "training={batch_size: 128}",
    ),
    "per_task": (),
}
"""Of `cascade`: the settings of a floor, and of adapters."""
_OF_A_CASCADE = {"whole", "gain", "cost_gain", "curves", "chosen"}
ROUNDS = 31
"""Forward passes of each kind whose median is taken."""


def ways(network: Mapping[str, object], imagenet: Path) -> dict[str, dict[str, object]]:
    """Row of the table → settings in which it differs from the pooled adapters."""
    photographs: dict[str, object] = {
        "method": "frozen",
        "bottleneck": None,
        "backbone": {"id": str(imagenet), "image": {"size": 64}},  # whose three channels are the luma
        "stream.quantiser_channel": None,
    }
    whole: dict[str, object] = {"method": "full", "bottleneck": None, "training.learning_rate": 0.0003}
    slots: dict[str, object] = {"bottleneck": None}
    new: dict[str, object] = {"kind": "new", "network": dict(network), "image": {"size": 32}}
    decayed = [HEAD, {"part": "backbone", "layer_decay": 1 / 2.6}]
    return {
        **({"frozen, of ImageNet": photographs} if imagenet.is_dir() else {}),
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


@dataclass(frozen=True)
class Asked:
    """What to measure: from which data, where its runs are, with how many seeds, and whether small."""

    data: Path
    imagenet: Path
    output: Path
    seeds: int
    quick: bool

    @property
    def network(self) -> dict[str, object]:
        """The new network."""
        return dict(TINY if self.quick else RESNET_18)

    def config(self, settings: Mapping[str, object]) -> RunConfig:
        """A run of stage 2 on the encoder's blocks, with what a row differs in."""
        values: dict[str, object] = {
            "problem": {"kind": "image_classification", "loss": {"gamma": 2.0, "beta": 0.9999}, "score": "macro_f1"},
            "stream": {
                "kind": "blocks",
                "data": {
                    "kind": "parquet",
                    "train": str(self.data / "p16_balanced.parquet"),
                    "label_names": str(self.data / "partition_types.txt"),
                    "split": "split",
                    "quantiser": "cq_level",
                    "domain": "domain",
                    "bits": 8,
                    "map": {name: None if LEAVES[name] == "NONE" else LEAVES[name] for name in TYPES},
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
            "output": str(self.output),
        }
        few: dict[str, object] = {"stream.train_per_class": 30, "stream.test_per_class": 20, "training.epochs": 1}
        for key, value in (dict(settings) | (few if self.quick else {})).items():
            put(values, key, value)
        return load_config(values)

    def shipped(self, name: str, *settings: str) -> RunConfig:
        """A shipped config on blocks of photographs."""
        small = [] if "method=frozen" in settings else [f"training.epochs={1 if self.quick else 8}"]
        if self.quick and not any(one.startswith("stream=") for one in settings):
            small.append("stream.train_per_class=20")
        if name.endswith("_pretrain"):
            small.append(f"backbone.network={json.dumps(TINY if self.quick else NARROW)}")
        return load_config(find_config(f"image_classification/{name}"), [*settings, *small])

    def backbone(self) -> Path:
        """Pretrain the backbone on NONE against the rest of the encoder's blocks, and return its folder."""
        settings: dict[str, object] = {
            "stream.data.map": {name: "NONE" if name == "NONE" else "PARTITION" for name in TYPES},
            "method": "full",
            "bottleneck": None,
            "backbone": {"kind": "new", "network": self.network, "image": {"size": 32}},
            "training.groups": [],
            "training.head_dropout": 0.0,
            "stream.train_per_class": 2000,
        }
        return pretrain(self.config(settings), NAME)


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


def done(config: RunConfig, workspace: Workspace) -> Path:
    """Return the folder of a run, which is learned, or goes on, where it is not complete."""
    state = SweepRun(config.name, config).state()
    if state == "new":
        run(config, workspace=workspace)
    elif state == "cut":
        resume(config.folder, workspace=workspace)
    return config.folder


def all_ways(asked: Asked) -> dict[str, JsonValue]:
    """The ways to learn stage 2 and the ten types, and what is known without a network."""
    stage_1 = json.loads((asked.backbone() / "pretraining-results.json").read_text(encoding="utf-8"))
    workspace, rows = Workspace(), list[JsonValue]()
    for name, settings in ways(asked.network, asked.imagenet).items():
        for seed in range(asked.seeds):
            folder_name = "-".join(name.replace("×", "x").replace(",", "").split())
            config = asked.config(settings | {"seed": seed, "name": folder_name})
            rows.append(row(name, done(config, workspace)))
    return {
        "stage_1_macro_f1": float(np.asarray(stage_1["matrix"], float)[-1, -1]),
        "runs": rows,
        "forest": forest(asked.config(FLAT)),
        "forward": forward_time(RESNET_18, 3 if asked.quick else ROUNDS),
    }


def all_streams(asked: Asked) -> dict[str, JsonValue]:
    """Ten types, task after task, each task a kind of content or a quantiser."""
    asked.backbone()
    workspace, rows = Workspace(), list[JsonValue]()
    for by in STREAMS:
        for method in METHODS:
            for seed in range(asked.seeds):
                settings = {"stream.by": by, "scenario": "domain", "method": method, "seed": seed, "name": by}
                folder = done(asked.config(FLAT | {"stream.train_per_class": 100} | settings), workspace)
                record, metrics = read_record(folder), metrics_of_path(folder)
                found = {metric.name: metric.value for metric in metrics.metrics}
                rows.append(
                    {
                        "stream": by,
                        "method": method,
                        "seed": seed,
                        "tasks": list(record.tasks),
                        "macro_f1": found["accuracy"],
                        "forgetting": found["forgetting"],
                        "trainable": max(cost.trainable_parameters for cost in record.cost),
                        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
                        "train_blocks": sum(task.train for task in record.data),
                    }
                )
    return {"runs": rows}


def cascade(asked: Asked) -> dict[str, JsonValue]:
    """A tree of two questions against one of all leaves, and what their answers cost in J."""
    pretrain(asked.shipped("blocks_pretrain"), f"{NAME}.photographs")
    workspace, rows = Workspace(), list[JsonValue]()
    blocks = asked.shipped("blocks").stream.model_dump(mode="json")
    leaves = blocks | {"data": blocks["data"] | {"map": LEAVES}}
    streams = {"tree": {"kind": "tree", "of": leaves, "nodes": NODES}, "leaves": leaves}
    for method, settings in ANSWERED.items():
        for seed in range(1 if method == "frozen" else asked.seeds):
            own = [*settings, f"seed={seed}", f"output={asked.output}", f"backbone.id=pretrained:{NAME}.photographs"]
            tree, flat = (
                done(asked.shipped("blocks", f"name={name}", f"stream={json.dumps(stream)}", *own), workspace)
                for name, stream in streams.items()
            )
            place = asked.output / f"cascade-{method}-{seed}"
            if not (place / RESULT_FILE).is_file():
                evaluate_cascade(cascade_of_runs([tree], flat), place)
            found = read_cascade_result(place / RESULT_FILE)
            kept = found.model_dump(mode="json", include={"examples", "leaves", *_OF_A_CASCADE})
            rows.append({"method": method, "seed": seed, "accuracy": found.whole["pipeline"].accuracy, **kept})
    return {"runs": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/blocks"))
    parser.add_argument(
        "--imagenet",
        type=Path,
        default=Path("../shared/data/weights/mobilenet_v2_imagenet"),
        help="folder of a network that has seen photographs alone; where there is none, its row is left out",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/blocks-encoder"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    output = given.output / "quick" if given.quick else given.output
    asked = Asked(given.data, given.imagenet, output, 1 if given.quick else given.seeds, given.quick)
    measured = {"ways": all_ways, "streams": all_streams, "cascade": cascade}
    for part in given.parts:
        numbers = measured[part](asked)
        if given.quick:
            atomic.write_json(output / f"blocks-{part}.json", numbers)
            print(f"wrote {output / f'blocks-{part}.json'}", flush=True)
        else:
            seeds = "" if asked.seeds == parser.get_default("seeds") else f" --seeds {asked.seeds}"
            evidence.write(f"blocks-{part}", numbers, f"python -m benchmarks.blocks {part}{seeds}")


if __name__ == "__main__":
    main()
