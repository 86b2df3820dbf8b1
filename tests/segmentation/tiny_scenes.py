"""Tiny scenes with maps, a tiny EoMT, and settings of runs that learn the ones with the other in seconds."""

from typing import Literal

import numpy as np

from plora.streams.base import Stream, StreamSource, Task
from plora.streams.class_steps import ClassSteps, classes_shown
from plora.streams.labelled_images import IGNORED, LabelledImageArray

CLASSES = ("ground", "square", "stripe")
NETWORK = {
    "model_type": "eomt",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_blocks": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 32,
    "patch_size": 8,
    "num_queries": 8,
    "num_register_tokens": 1,
    "num_upscale_blocks": 1,
    "train_num_points": 64,
}
IMAGE = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.25]}
ANSWERING = ("query", "class_predictor", "mask_head", "upscale_block")
"""What answers, beside the encoder."""


def scenes(number: int, seed: int, look: int = 0, size: tuple[int, int] = (32, 32)) -> LabelledImageArray:
    """Squares and stripes on a ground, in the colours of a look; some pixels are ignored."""
    colours = np.roll(np.array([[40, 60, 80], [210, 90, 60], [60, 200, 220]]), look, axis=1)
    images, maps = [], []
    for index in range(number):
        rng = np.random.default_rng([seed, look, index])
        classes = np.zeros(size, np.uint8)
        top, left = rng.integers(0, size[0] - 12), rng.integers(0, size[1] - 12)
        classes[top : top + 12, left : left + 12] = 1
        row = rng.integers(0, size[0] - 4)
        classes[row : row + 4] = 2
        images.append(np.clip(colours[classes] + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8))
        classes[rng.random(size) < 0.05] = IGNORED
        maps.append(classes)
    return LabelledImageArray(images, maps, CLASSES)


class TinyScenes(StreamSource):
    """The same classes under another light in each task."""

    kind: Literal["tiny_scenes:TinyScenes"] = "tiny_scenes:TinyScenes"
    number: int = 16
    """Scenes to train on; half as many to validate and to test."""
    tasks: int = 2
    """How many lights."""
    height: int = 32
    """Of the scenes."""

    def load(self) -> Stream:
        """Return the tasks."""
        sizes = (self.number, self.number // 2, self.number // 2)
        tasks = [
            Task(f"light-{look}", (), *(scenes(n, part, look, (self.height, 32)) for part, n in enumerate(sizes)))
            for look in range(self.tasks)
        ]
        return Stream("tiny-scenes", tuple(tasks))


class TinySteps(ClassSteps):
    """Squares are learned first and stripes then, on the same scenes where steps overlap."""

    kind: Literal["tiny_scenes:TinySteps"] = "tiny_scenes:TinySteps"
    increment: int | None = 1
    background: str | None = "ground"
    number: int = 16
    """Scenes to train on; half as many to validate and to test."""

    def load(self) -> Stream:
        """Return the steps."""
        names, numbers = ("train", "validation", "test"), (self.number, self.number // 2, self.number // 2)
        splits = {name: scenes(number, part) for part, (name, number) in enumerate(zip(names, numbers, strict=True))}
        tasks, notes = self.steps(splits, {name: classes_shown(images) for name, images in splits.items()})  # type: ignore[arg-type]
        return Stream("tiny-steps", tasks, ("class",), notes=notes)


VALUES = {
    "stream": {"kind": "tiny_scenes:TinyScenes"},
    "scenario": "domain",
    "problem": {"kind": "semantic_segmentation"},
    "backbone": {"kind": "new", "network": NETWORK, "image": IMAGE},
    "method": "sequential",
    "lora": {"rank": 4, "alpha": 8, "targets": "attention:qv"},
    "modules": ANSWERING,
    "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.003, "log_every": 2},
}
