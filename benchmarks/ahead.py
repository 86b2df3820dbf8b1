"""Steps per second on images in JPEG files, decoded ahead in threads, against each batch decoded when it is needed.

The same network takes the same steps in both ways, in turns, so that noise of the machine disturbs both.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from benchmarks import evidence
from plora.batches.ahead import THREADS, Ahead
from plora.batches.plan import plan_epoch
from plora.build import Parts, Workspace, build
from plora.config import load_config
from plora.moment import Moment
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.images import ImageFiles
from plora.training.course import plan_course
from plora.training.phase import optimizer_of, trained_by
from plora.training.stage import begin_lesson, open_stage
from plora.training.step import Backward, coming

FILE_SIDE, SIDE, BATCH, ROUNDS = 384, 64, 32, 3


class Files(StreamSource):
    """One task of images in JPEG files: a smooth pattern in noise, of two classes."""

    kind: Literal["benchmarks.ahead:Files"] = "benchmarks.ahead:Files"

    root: Path
    """Folder of the files."""
    images: int = Field(ge=2)
    """To train on; a batch of them is validated and tested on too."""

    def load(self) -> Stream:
        """Write the files."""
        paths = tuple(self.root / f"{number}.jpg" for number in range(self.images))
        for number, path in enumerate(paths):
            rng = np.random.default_rng(number)
            coarse = rng.integers(0, 200, (FILE_SIDE // 16, FILE_SIDE // 16, 3)).astype(np.uint8)
            smooth = np.asarray(Image.fromarray(coarse).resize((FILE_SIDE, FILE_SIDE)))
            Image.fromarray(smooth + rng.integers(0, 50, smooth.shape, np.uint8)).save(path, quality=90)
        labels = np.arange(self.images, dtype=np.int64) % 2
        train, few = ImageFiles(paths, labels), ImageFiles(paths[:BATCH], labels[:BATCH])
        return Stream("files", (Task("patterns", ("even", "odd"), train, few, few),), ("task", "class"))


def parts_of(images: int, root: Path) -> Parts:
    """The live parts of a run that learns the files."""
    values = {
        "name": "ahead",
        "stream": {"kind": "benchmarks.ahead:Files", "root": str(root), "images": images},
        "problem": {"kind": "image_classification"},
        "scenario": "class",
        "method": "sequential",
        "lora": {"targets": "all_conv", "rank": 4},
        "backbone": {
            "kind": "new",
            "network": {
                "model_type": "resnet",
                "num_channels": 3,
                "embedding_size": 16,
                "hidden_sizes": [16, 32],
                "depths": [1, 1],
                "layer_type": "basic",
            },
            "image": {"size": SIDE, "mean": [0.5] * 3, "std": [0.5] * 3},
        },
        "training": {"batch_size": BATCH, "epochs": 1, "learning_rate": 0.001},
        "output": str(root / "runs"),
    }
    return build(load_config(values), Workspace())


def epochs(parts: Parts) -> Iterator[tuple[bool, float]]:
    """Train epoch after epoch, and yield whether batches were decoded ahead, and the steps per second."""
    plan, settings, model = plan_course(parts)[0], parts.config.training, parts.model
    open_stage(parts, plan)
    lesson, train = begin_lesson(parts, plan), plan.stage.train
    trained = trained_by(model, plan.phases[0].train)
    optimizer = optimizer_of(settings, model, trained, trained, settings.learning_rate)
    model.train()
    for epoch in range(2 * ROUNDS + 1):  # the first one warms up
        steps = plan_epoch(train.costs, BATCH, plan.seed, 0, 0, epoch)
        started = time.perf_counter()
        jobs = coming(parts, train, [(indices, epoch) for indices in steps], BATCH)
        with Ahead(train, jobs) if epoch % 2 else nullcontext() as ahead:
            for number, indices in enumerate(steps):
                now = Moment(0, number, len(steps), epoch, 0, len(indices))
                Backward(parts, plan, lesson, BATCH, ahead=ahead).run(indices, now, epoch)
                optimizer.step()
                optimizer.zero_grad()
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        if epoch:
            yield ahead is not None, len(steps) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1600)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as place:
        measured = [*epochs(parts_of(images, Path(place)))]
    ahead, needed = (median(speed for way, speed in measured if way == wanted) for wanted in (True, False))
    numbers = {"ahead": round(ahead, 2), "when needed": round(needed, 2)}
    evidence.write(
        "ahead",
        {
            "images": images,
            "file_side": FILE_SIDE,
            "side": SIDE,
            "batch": BATCH,
            "decoding_threads": THREADS,
            "steps_per_second": {**numbers},
            "ratio": round(ahead / needed, 2),
        },
    )


if __name__ == "__main__":
    main()
