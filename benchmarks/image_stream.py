"""A long stream of images on a vision transformer, class-incremental, with SD-LoRA: what each further task costs.

Made-up images (a prototype per class, in noise). As it stands, 50 tasks of two classes on a small network, on a CPU;
with `--vit-b` ten tasks of ten classes on the shape of a ViT-B/16, for a GPU.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from benchmarks import evidence
from benchmarks.keeping import timed
from plora.atomic import JsonValue
from plora.config import load_config
from plora.events.console import Console
from plora.results import read_record
from plora.runs import run
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.images import ImageArray
from plora.training import stream as loop

SMALL = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}


class MadeClasses(StreamSource):
    """Classes of images, each a prototype in noise; all are held in memory."""

    kind: Literal["benchmarks.image_stream:MadeClasses"] = "benchmarks.image_stream:MadeClasses"

    tasks: int = Field(ge=1)
    """Tasks."""
    classes: int = Field(ge=2)
    """Classes of each."""
    side: int = Field(ge=1)
    """Height and width in pixels."""
    train: int = Field(default=32, ge=1)
    """Images of each class to train on."""
    test: int = Field(default=8, ge=1)
    """Images of each class for validation, and for test."""

    def load(self) -> Stream:
        """Make the images."""
        rng = np.random.default_rng(0)
        return Stream("made", tuple(self._task(number, rng) for number in range(self.tasks)), ("task", "class"))

    def _task(self, number: int, rng: np.random.Generator) -> Task:
        coarse = rng.integers(0, 128, (self.classes, 8, 8, 3), np.uint8)
        prototypes = coarse.repeat(self.side // 8, 1).repeat(self.side // 8, 2)
        splits = []
        for each in (self.train, self.test, self.test):
            labels = np.arange(each * self.classes, dtype=np.int64) % self.classes
            noise = rng.integers(0, 128, (len(labels), self.side, self.side, 3), np.uint8)
            splits.append(ImageArray(prototypes[labels] + noise, labels))
        names = tuple(f"class {number * self.classes + label}" for label in range(self.classes))
        return Task(f"task-{number + 1:02}", names, *splits)


def values(given: argparse.Namespace, output: Path) -> dict[str, JsonValue]:
    """The config of the run."""
    side, patch = (224, 16) if given.vit_b else (32, 8)
    return {
        "name": "image-stream",
        "stream": {
            "kind": "benchmarks.image_stream:MadeClasses",
            "tasks": given.tasks,
            "classes": 10 if given.vit_b else 2,
            "side": side,
        },
        "problem": {"kind": "image_classification"},
        "scenario": "class",
        "method": given.method,
        "backbone": {
            "kind": "new",
            "network": {
                "model_type": "vit",
                "image_size": side,
                "patch_size": patch,
                **({} if given.vit_b else SMALL),
            },
            "image": {"size": side, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        },
        "lora": {"rank": 10, "alpha": 10, "dropout": 0.0, "targets": "attention:qv"},
        "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.003, "precision": given.precision},
        "output": str(output),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--method", default="sd_lora")
    parser.add_argument("--vit-b", action="store_true", help="the shape of a ViT-B/16, 224 pixels, ten classes a task")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, timed(loop, "_row") as scoring:
        record = read_record(run(load_config(values(given, Path(place))), Console(live=False)))
    each = record.data[0].test
    tested = [each * number for number in range(1, given.tasks + 1)]
    per_image = [1000 * seconds / images for seconds, images in zip(scoring[1:], tested, strict=True)]
    rows: list[dict[str, JsonValue]] = [
        {
            "task": number + 1,
            "train_seconds": round(cost.seconds, 3),
            "train_images_per_second": round(cost.samples / cost.seconds, 1),
            "score_seconds": round(scoring[number + 1], 3),
            "score_ms_per_image": round(per_image[number], 3),
            "stored_bytes": cost.stored_bytes,
            "peak_memory_bytes": cost.peak_memory_bytes,
        }
        for number, cost in enumerate(record.cost)
    ]
    tenth = max(given.tasks // 10, 1)
    evidence.write(
        "image_stream-vit-b" if given.vit_b else "image_stream",
        {
            "method": given.method,
            "precision": given.precision,
            "tasks": given.tasks,
            "rows": [*rows],
            "train_last_over_first": round(
                statistics.median(cost.seconds for cost in record.cost[-tenth:])
                / statistics.median(cost.seconds for cost in record.cost[:tenth]),
                2,
            ),
            "score_last_over_first_per_image": round(
                statistics.median(per_image[-tenth:]) / statistics.median(per_image[:tenth]), 2
            ),
        },
    )


if __name__ == "__main__":
    main()
