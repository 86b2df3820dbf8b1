"""Image classification: pixels in, one feature vector per image out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plora.backbones import Backbone, BackboneConfig, ImageBackbone, load_image_backbone, save_image_backbone
from plora.errors import DataError, RunError
from plora.problems.base import EncodedInputs, Indices, LabelledExamples, Problem
from plora.problems.settings import ProblemSettings
from plora.streams.base import Scenario, Split, Stream, StreamSource
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageArray, ImageFiles, Images, Pixels

_PIXELS_PER_TOKEN = 64
"""An image costs as much as a token for each so many of its pixels."""


@dataclass(frozen=True)
class Preparation:
    """How pixels become what a network takes: (resized pixels / 255 − mean) / std.

    Args:
        size: height and width in pixels.
        mean, std: of each channel; as many as the network has.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def resized(self, image: Pixels) -> Tensor:
        """Return an image `[H, W]` or `[H, W, C]` as `[channels, height, width]` fp32, whole numbers in 0 to 255.

        What was resized is rounded, so that an image that is kept as bytes stays what it was.

        Raises:
            DataError: it has other channels than the network, and is not grey.
        """
        pixels = torch.from_numpy(np.array(image)).float()  # a copy: an image read from a file cannot be written
        pixels = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
        if len(pixels) != len(self.mean):
            if len(pixels) != 1:
                raise DataError(f"an image has {len(pixels)} channels, and the backbone takes {len(self.mean)}")
            pixels = pixels.expand(len(self.mean), -1, -1)
        if pixels.shape[1:] == self.size:
            return pixels
        return F.interpolate(pixels[None], self.size, mode="bilinear", align_corners=False, antialias=True)[0].round()

    def normalised(self, pixels: Tensor) -> Tensor:
        """Return pixels `[B, C, H, W]` in 0 to 255 as the network takes them."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels / 255 - mean) / std


@dataclass(frozen=True)
class EncodedImages(EncodedInputs):
    """Images of one or more splits, read when they are batched.

    Args:
        parts: splits, and which of their images, one after the other.
        preparation: what is made of each.
    """

    parts: tuple[tuple[Images, Indices], ...]
    preparation: Preparation

    @property
    def lengths(self) -> Indices:  # type: ignore[override]  # follows from the size, the same for all
        """`[N]` what each image costs, the same for all."""
        height, width = self.preparation.size
        number = sum(len(indices) for _, indices in self.parts)
        return np.full(number, max(1, height * width // _PIXELS_PER_TOKEN), np.int64)

    @property
    def slow(self) -> bool:  # type: ignore[override]  # decided by the splits
        """Whether a split is slow to read."""
        return any(split.slow for split, _ in self.parts)

    def read(self, indices: Indices) -> list[Pixels]:
        """Return some images."""
        found: dict[int, Pixels] = {}
        borders = np.cumsum([len(own) for _, own in self.parts])
        owners = np.searchsorted(borders, indices, side="right")
        for owner in np.unique(owners).tolist():  # of each split all at once
            split, own = self.parts[owner]
            places = np.flatnonzero(owners == owner)
            images = split.read(own[indices[places] - (borders[owner] - len(own))])
            found.update(zip(places.tolist(), images, strict=True))
        return [found[place] for place in range(len(indices))]

    def followed_by(self, others: "Sequence[EncodedImages]") -> "EncodedImages":
        """Return these images and others."""
        return EncodedImages((*self.parts, *(part for other in others for part in other.parts)), self.preparation)

    def subset(self, indices: Indices) -> "EncodedImages":
        """Return some of the images."""
        if len(self.parts) == 1:
            ((split, own),) = self.parts
            return EncodedImages(((split, own[indices]),), self.preparation)
        return EncodedImages(
            ((_array(self.read(indices), self.preparation), np.arange(len(indices))),), self.preparation
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return `pixels` `[N, H, W, C]` uint8, as large as the network takes them."""
        return {"pixels": torch.from_numpy(_array(self.read(np.arange(len(self))), self.preparation).pixels)}

    def collate(self, indices: Indices, draw: int | None = None) -> dict[str, Tensor]:
        """Return `pixel_values` `[B, C, H, W]`."""
        pixels = torch.stack([self.preparation.resized(image) for image in self.read(indices)])
        return {"pixel_values": self.preparation.normalised(pixels)}


def _array(images: Sequence[Pixels], preparation: Preparation) -> ImageArray:
    """Images as large as the network takes them, in memory."""
    pixels = [preparation.resized(image).to(torch.uint8).permute(1, 2, 0) for image in images]
    return ImageArray(torch.stack(pixels).numpy(), np.zeros(len(images), np.int64))


class ImageClassification(Problem):
    """Images with one class each.

    Features are what the network itself pools, or else the mean over positions, or of a sequence its first state.

    Args:
        preparation: what is made of an image.

    Attributes:
        reading: how files of images are decoded.
    """

    items = "images"
    size_key = "backbone.image.size"

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation
        self.reading = READING

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> ImageBackbone:
        """Load a network that takes `pixel_values`, and how its images are prepared."""
        return load_image_backbone(config)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone."""
        assert isinstance(backbone, ImageBackbone)
        return cls(Preparation(backbone.size, backbone.mean, backbone.std))

    def save(self, backbone: Backbone, folder: Path) -> None:
        """Write weights, config.json and preprocessor_config.json."""
        assert isinstance(backbone, ImageBackbone)
        save_image_backbone(backbone, folder)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse a stream of anything but images."""
        for task in stream.tasks:
            if not isinstance(task.train, Images):
                raise DataError(
                    f"problem 'image_classification' needs images, and task '{task.name}' of stream '{stream.name}' "
                    f"has {type(task.train).__name__.lower()}; set problem.kind to what the stream holds"
                )

    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        """Return the images of a split and their rows; no image is read."""
        assert isinstance(split, Images)
        inputs = EncodedImages(((split, np.arange(len(split))),), self.preparation)
        return LabelledExamples(inputs, split.labels + first_row, split.fingerprint())

    def read_as(self, source: StreamSource) -> None:
        """Decode files as the `reading` of a stream says, where it has one."""
        reading = getattr(source, "reading", None)
        if isinstance(reading, ImageReading):
            self.reading = reading

    def given(self, inputs: Sequence[object]) -> Images:
        """Return image files by their paths, or arrays of pixels."""
        if all(isinstance(one, np.ndarray) for one in inputs):
            return _array([np.asarray(one, np.uint8) for one in inputs], self.preparation)
        paths = tuple(Path(str(one)) for one in inputs)
        if absent := [path for path in paths if not path.is_file()]:
            raise DataError(f"image {absent[0]} does not exist, or is no file; name image files")
        return ImageFiles(paths, np.zeros(len(paths), np.int64), self.reading)

    def pictures(self, split: Split, indices: Indices) -> Sequence[Pixels] | None:
        """Return some images as they are read, before anything is made of them."""
        return split.read(indices) if isinstance(split, Images) else None

    def restored(self, tensors: Mapping[str, Tensor]) -> LabelledExamples:
        """Return images and rows that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or shape.
        """
        pixels, rows = tensors.get("inputs/pixels"), tensors.get("rows")
        wanted = (*self.preparation.size, len(self.preparation.mean))
        if pixels is None or pixels.dtype != torch.uint8 or pixels.shape[1:] != wanted:
            raise RunError(f"the stored images have no 'pixels' of {wanted} and type uint8")
        if rows is None or rows.dtype != torch.int64 or rows.shape != (len(pixels),):
            raise RunError("the stored images have no 'rows', one for each of them")
        array = ImageArray(pixels.cpu().numpy(), np.zeros(len(pixels), np.int64))
        return LabelledExamples(EncodedImages(((array, np.arange(len(array))),), self.preparation), rows.cpu().numpy())

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401  (a class per network)
        """Return one vector per image, `[B, d]`."""
        pooled = getattr(found, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1).float()  # type: ignore[no-any-return]
        states: Tensor = found.last_hidden_state.float()
        return states.flatten(2).mean(2) if states.dim() == 4 else states[:, 0]

    def fingerprint(self) -> str:
        """Return the sha256 of size and normalisation."""
        content = [self.preparation.size, self.preparation.mean, self.preparation.std, "bilinear, antialiased, rounded"]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()
