"""Peak memory of a run on a stream that no memory holds: images that are made when they are read.

Two tasks of 16 × 16 images, a small frozen network, a solved head in one pass; the same with a tenth of the images.
Each run is a process of its own, whose peak is what the system counted.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from benchmarks import evidence
from plora.atomic import JsonValue
from plora.config import load_config
from plora.events.console import Console
from plora.results import read_record
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.images import Images, Pixels

SIDE = 16
TASKS, CLASSES = 2, 2
BOUND_MB = 200
"""What ten times the images may cost more: features, and what is kept of each test image, but no images."""


@dataclass(frozen=True)
class MadeImages(Images):
    """Images without storage: image i follows from its number, a bar whose place is its class in noise.

    Args:
        first: number of the first image.
        labels: `[N]`.
        offset: the task's first class.
    """

    first: int
    labels: NDArray[np.int64]
    offset: int

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Pixels]:
        """Make some of the images."""
        images = []
        for index in indices.tolist():
            image = np.random.default_rng(self.first + index).integers(0, 128, (SIDE, SIDE), np.uint8)
            image[:, 4 * (self.offset + int(self.labels[index]))] += 64
            images.append(image)
        return images


class MadeStream(StreamSource):
    """Two tasks of images that are made when they are read."""

    kind: Literal["benchmarks.large_stream:MadeStream"] = "benchmarks.large_stream:MadeStream"

    images: int = Field(default=200_000, ge=100)
    """Of all tasks and splits together."""

    def load(self) -> Stream:
        """Number the images; none is made."""
        each, tasks, first = self.images // TASKS, [], 0
        for number in range(TASKS):
            splits = []
            for size in (each - 2 * (each // 10), each // 10, each // 10):
                splits.append(MadeImages(first, np.arange(size, dtype=np.int64) % CLASSES, CLASSES * number))
                first += size
            names = tuple(f"bar {CLASSES * number + label}" for label in range(CLASSES))
            tasks.append(Task(f"bars-{number + 1}", names, *splits))
        return Stream("made", tuple(tasks), ("task", "class"))


def values(images: int, output: Path) -> dict[str, JsonValue]:
    """The config of one run."""
    return {
        "name": f"made-{images}",
        "stream": {"kind": "benchmarks.large_stream:MadeStream", "images": images},
        "problem": {"kind": "image_classification"},
        "scenario": "class",
        "method": "frozen",
        "head": "ridge",
        "backbone": {
            "kind": "new",
            "network": {
                "model_type": "resnet",
                "num_channels": 1,
                "embedding_size": 8,
                "hidden_sizes": [8, 32],
                "depths": [1, 1],
                "layer_type": "basic",
            },
            "image": {"size": SIDE},
        },
        "output": str(output),
    }


def alone(images: int) -> dict[str, JsonValue]:
    """One run in this process: its peak memory, and what it reached."""
    from plora.runs import run

    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        record = read_record(run(load_config(values(images, Path(place))), Console(live=False)))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    accuracy = record.metrics["accuracy"].value
    return {"images": images, "peak_mb": round(peak / 1e6), "seconds": round(seconds, 1), "accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--alone", action="store_true", help="this run, in this process")
    given = parser.parse_args()
    if given.alone:
        print(json.dumps(alone(given.images)))
        return
    rows: list[dict[str, JsonValue]] = []
    for images in (given.images // 10, given.images):
        command = [sys.executable, "-m", "benchmarks.large_stream", "--alone", "--images", str(images)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ})
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    small, large = (int(str(row["peak_mb"])) for row in rows)
    assert large - small < BOUND_MB, f"ten times the images take {large - small} MB more, above {BOUND_MB}"
    evidence.write("large_stream", {"side": SIDE, "rows": [*rows], "more_mb": large - small, "bound_mb": BOUND_MB})


if __name__ == "__main__":
    main()
