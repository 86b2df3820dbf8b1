"""A problem that plora does not know: which class has each pixel, and where does something begin. Nobody's but ours.

problem:  {kind: "pixel_problem:PixelSettings"}
stream:   {kind: "pixel_problem:Scenes"}
modules:  [decoder]
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from plora.backbones import Backbone, BackboneConfig
from plora.errors import DataError, RunError
from plora.fingerprint import hash_tensors
from plora.problems import Batch, Examples, Problem
from plora.problems.base import Columns, Indices
from plora.problems.settings import ProblemSettings
from plora.results import SCORES, Measurements, PixelCounts
from plora.streams.base import Scenario, Split, Stream, StreamSource, Task

CLASSES = ("ground", "square", "stripe")
IGNORED = 255
"""Class of a pixel that counts in nothing."""
SIZE = 8
Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""An image `[H, W, 3]` and its mask `[H, W]`."""


# ---------------------------------------------------------------------- the data


class ScenesSplit(Split):
    """Scenes that are drawn when they are read, each from its own number."""

    labels = None
    reads: ClassVar[list[int]] = []
    """How many scenes each call of `read` was asked for, over all splits."""
    slow = True

    def __init__(self, seed: int, number: int, look: int, ignored: float) -> None:
        self.seed, self.number, self.look, self.ignored = seed, number, look, ignored

    def __len__(self) -> int:
        return self.number

    def read(self, indices: NDArray[np.int64]) -> Sequence[Scene]:
        """Draw some scenes."""
        self.reads.append(len(indices))
        return [self._scene(int(index)) for index in indices]

    def _scene(self, index: int) -> Scene:
        rng = np.random.default_rng([self.seed, index])
        mask = np.zeros((SIZE, SIZE), np.uint8)
        top, left = rng.integers(0, SIZE - 3, 2)
        mask[top : top + 3, left : left + 3] = 1
        mask[rng.integers(0, SIZE)] = 2
        colours = np.roll(np.array([[40, 60, 80], [210, 90, 60], [60, 200, 220]]), self.look, axis=1)
        image = np.clip(colours[mask] + rng.normal(0, 12, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        mask[rng.random(mask.shape) < self.ignored * rng.random()] = IGNORED
        return image, mask

    def fingerprint(self) -> str:
        """Return the sha256 of all scenes."""
        digest = hashlib.sha256()
        for index in range(self.number):
            for part in self._scene(index):
                digest.update(part.tobytes())
        return digest.hexdigest()


class Scenes(StreamSource):
    """Scenes of the same classes under another light in each task."""

    kind: Literal["pixel_problem:Scenes"] = "pixel_problem:Scenes"
    tasks: int = Field(default=2, ge=1)
    """How many lights."""
    number: int = Field(default=16, ge=2)
    """Scenes to train on; half as many to validate and to test."""
    ignored: float = Field(default=0.3, ge=0, le=1000)
    """Largest share of pixels of a scene that count in nothing."""

    def load(self) -> Stream:
        """Return the tasks."""
        made = []
        for look in range(self.tasks):
            sizes = (self.number, self.number // 2, self.number // 2)
            splits = [ScenesSplit(10 * look + part, size, look, self.ignored) for part, size in enumerate(sizes)]
            made.append(Task(f"light-{look}", (), *splits))
        return Stream("scenes", tuple(made))


# ---------------------------------------------------------------------- examples


@dataclass(frozen=True)
class PixelExamples(Examples):
    """Scenes of one or more splits, flipped and shifted otherwise in every draw.

    Args:
        parts: splits, and which of their scenes, one after the other.
        fingerprint: sha256 of the content.
    """

    parts: tuple[tuple[Split, Indices], ...]
    fingerprint: str = ""
    rows: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    fixed: ClassVar[bool] = False  # type: ignore[misc]

    @property
    def costs(self) -> Indices:
        """`[N]` all the same."""
        return np.full(sum(len(own) for _, own in self.parts), SIZE * SIZE, np.int64)

    @property
    def slow(self) -> bool:  # type: ignore[override]
        """Whether a split is."""
        return any(split.slow for split, _ in self.parts)

    def read(self, indices: Indices) -> list[Scene]:
        """Return some scenes."""
        every = [(split, int(index)) for split, own in self.parts for index in own]
        return [split.read(np.array([every[i][1]]))[0] for i in indices for split in (every[i][0],)]  # type: ignore[misc]

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return `pixels` `[B, 3, H, W]`, `classes` and `edge` `[B, H, W]`; image and mask move together."""
        images, masks = [], []
        for index, (image, mask) in zip(indices.tolist(), self.read(indices), strict=True):
            if draw is not None:
                rng = np.random.default_rng([draw, index])
                if rng.random() < 0.5:
                    image, mask = image[:, ::-1], mask[:, ::-1]
                shift = int(rng.integers(-1, 2))
                image, mask = np.roll(image, shift, axis=1), np.roll(mask, shift, axis=1)
            images.append(np.ascontiguousarray(image))
            masks.append(np.ascontiguousarray(mask))
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255 - 0.5
        classes = torch.from_numpy(np.stack(masks)).long()
        valid = classes != IGNORED
        return Batch(
            {"pixels": pixels},
            {"classes": classes, "thing": (classes != 0).float()},
            indices,
            {"classes": float(valid.sum()), "thing": float((valid & (classes != 2)).sum())},
        )

    def subset(self, indices: Indices) -> "PixelExamples":
        """Return some of the scenes, still unread."""
        every = [(split, int(index)) for split, own in self.parts for index in own]
        return PixelExamples(tuple((every[i][0], np.array([every[i][1]])) for i in indices.tolist()))

    def followed_by(self, others: "Sequence[PixelExamples]") -> "PixelExamples":
        """Return these scenes and others."""
        return PixelExamples((*self.parts, *(part for other in others for part in other.parts)))

    def tensors(self) -> dict[str, Tensor]:
        """Return images and masks, uint8."""
        images, masks = zip(*self.read(np.arange(len(self))), strict=True)
        return {"images": torch.from_numpy(np.stack(images)), "masks": torch.from_numpy(np.stack(masks))}


class KeptScenes(Split):
    """Scenes that a checkpoint kept."""

    labels = None

    def __init__(self, images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> None:
        self.images, self.masks = images, masks

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: NDArray[np.int64]) -> Sequence[Scene]:
        """Return some of them."""
        return [(self.images[i], self.masks[i]) for i in indices.tolist()]

    def fingerprint(self) -> str:
        """Return the sha256 of all."""
        return hashlib.sha256(self.images.tobytes() + self.masks.tobytes()).hexdigest()


# ---------------------------------------------------------------------- the network


class Residual(nn.Module):
    """x + relu(conv(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, C, H, W]`."""
        return x + F.relu(self.conv(x))


class Decoder(nn.Module):
    """Logits `[B, C + 1, H, W]` of features."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.out = nn.Conv2d(width, len(CLASSES) + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.out(F.relu(self.norm(self.mix(x))))


class PixelNetwork(nn.Module):
    """A stem, two blocks, a decoder."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(Residual(width) for _ in range(2))
        self.decoder = Decoder(width, norm)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits `[B, C + 1, H, W]`."""
        x = F.relu(self.stem(pixels))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.decoder(x)
        return logits


# ---------------------------------------------------------------------- the problem


class PixelSettings(ProblemSettings):
    """Of `PixelProblem`."""

    part: ClassVar[str | type[object]] = "pixel_problem:PixelProblem"
    classifies: ClassVar[bool] = False

    kind: Literal["pixel_problem:PixelSettings"] = "pixel_problem:PixelSettings"
    thing_weight: float = Field(default=0.5, ge=0)
    """How much the second output counts."""
    width: int = Field(default=6, ge=1)
    """Channels."""
    norm: bool = True
    """BatchNorm in the decoder."""


class PixelProblem(Problem):
    """L = mean CE over valid pixels + λ · mean BCE over the pixels that are no stripe."""

    score = SCORES["mean_iou"]
    record = PixelCounts
    classifies: ClassVar[bool] = False

    def __init__(self, settings: PixelSettings) -> None:
        self.settings = settings

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> Backbone:
        """Make the network from the seed of the config."""
        assert isinstance(settings, PixelSettings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = PixelNetwork(settings.width, settings.norm).eval().requires_grad_(False)
        return Backbone(network, 0, hash_tensors(sorted(network.state_dict().items())), "pixels")

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem."""
        assert isinstance(settings, PixelSettings)
        return cls(settings)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse anything but scenes."""
        for task in stream.tasks:
            if not isinstance(task.train, ScenesSplit):
                raise DataError(f"pixel_problem needs scenes, and task '{task.name}' has none; set stream.kind")

    def encode(self, split: Split, first_row: int = 0) -> PixelExamples:
        """Return the scenes of a split, unread."""
        return PixelExamples(((split, np.arange(len(split))),), split.fingerprint())

    def restored(self, tensors: Mapping[str, Tensor]) -> PixelExamples:
        """Return scenes that were kept."""
        images, masks = tensors.get("images"), tensors.get("masks")
        if images is None or masks is None or images.shape[:3] != masks.shape:
            raise RunError("the stored scenes have no 'images' and 'masks' of one size")
        kept = KeptScenes(images.cpu().numpy(), masks.cpu().numpy())
        return PixelExamples(((kept, np.arange(len(kept))),))

    def features(self, found: Tensor, inputs: Mapping[str, Tensor]) -> None:
        """Say that no head reads anything."""
        return

    def outputs(self, found: Tensor, scores: Tensor | None) -> dict[str, Tensor]:
        """Return `classes` `[B, C, H, W]` and `thing` `[B, H, W]`, both logits."""
        return {"classes": found[:, : len(CLASSES)], "thing": found[:, len(CLASSES)]}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return both losses, sums over the pixels that count."""
        classes, thing = batch.targets["classes"], batch.targets["thing"]
        counts = (classes != IGNORED) & (classes != 2)
        apart = F.binary_cross_entropy_with_logits(outputs["thing"].float(), thing, reduction="none")
        return {
            "classes": F.cross_entropy(outputs["classes"].float(), classes, ignore_index=IGNORED, reduction="sum"),
            "thing": self.settings.thing_weight * (apart * counts).sum(),
        }

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `confusion` `[B, C, C]`."""
        truth, taken = batch.targets["classes"].cpu().numpy(), outputs["classes"].argmax(1).cpu().numpy()
        found = np.zeros((len(truth), len(CLASSES), len(CLASSES)), np.int64)
        for image, (true, predicted) in enumerate(zip(truth, taken, strict=True)):
            valid = true != IGNORED
            np.add.at(found[image], (true[valid], predicted[valid]), 1)
        return {"confusion": found}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> Measurements:
        """Return the confusion matrices."""
        return PixelCounts.of_confusions(task, example, columns["confusion"], CLASSES)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of classes and size."""
        return hashlib.sha256(json.dumps([CLASSES, SIZE]).encode()).hexdigest()
