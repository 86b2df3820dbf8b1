"""Image classification: pixels in, one feature vector per image out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from plora.backbones import (
    Backbone,
    BackboneConfig,
    ImageBackbone,
    Preparation,
    load_image_backbone,
    save_image_backbone,
)
from plora.errors import DataError, RunError
from plora.problems.augmentation import RandomImages
from plora.problems.base import Batch, EncodedInputs, Indices, LabelledExamples, Problem
from plora.problems.settings import ImageClassificationSettings, ProblemSettings
from plora.streams.base import Split, StreamSource
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageArray, ImageFiles, Images, Pixels

_AT_ONCE = 256
"""Images in memory as fp32."""


@dataclass(frozen=True)
class PreparedImages(ImageArray):
    """Images as large as the network takes them, which are normalised and nothing else."""


@dataclass(frozen=True)
class EncodedImages(EncodedInputs):
    """Images of one or more splits, read when they are batched.

    Args:
        parts: splits, and which of their images, one after the other.
        preparation: what is made of each.
        fixed: chance changes none of them while they are learned.
    """

    parts: tuple[tuple[Images, Indices], ...]
    preparation: Preparation
    fixed: bool = True

    @property
    def lengths(self) -> Indices:  # type: ignore[override]  # follows from the size, the same for all
        """`[N]` what each image costs, the same for all."""
        return np.full(sum(len(indices) for _, indices in self.parts), self.preparation.cost, np.int64)

    @property
    def slow(self) -> bool:  # type: ignore[override]  # decided by the splits
        """Whether a split is slow to read."""
        return any(split.slow for split, _ in self.parts)

    def prepared(self, indices: Indices) -> Tensor:
        """Return some images `[B, C, H, W]` fp32, as large as the network takes them: whole numbers in 0 to 255."""
        found: dict[int, Tensor] = {}
        borders = np.cumsum([len(own) for _, own in self.parts])
        owners = np.searchsorted(borders, indices, side="right")
        for owner in np.unique(owners).tolist():  # of each split all at once
            split, own = self.parts[owner]
            places = np.flatnonzero(owners == owner)
            wanted = own[indices[places] - (borders[owner] - len(own))]
            ready = isinstance(split, PreparedImages)
            found.update(
                (place, _as_tensor(image) if ready else self.preparation.resized(image, split.name(index)))
                for place, index, image in zip(places.tolist(), wanted.tolist(), split.read(wanted), strict=True)
            )
        return torch.stack([found[place] for place in range(len(indices))])

    def followed_by(self, others: "Sequence[EncodedImages]") -> "EncodedImages":
        """Return these images and others."""
        return replace(self, parts=(*self.parts, *(part for other in others for part in other.parts)))

    def subset(self, indices: Indices) -> "EncodedImages":
        """Return some of the images."""
        if len(self.parts) == 1:
            ((split, own),) = self.parts
            return replace(self, parts=((split, own[indices]),))
        return replace(self, parts=((self._array(indices), np.arange(len(indices))),))

    def tensors(self) -> dict[str, Tensor]:
        """Return `pixels` `[N, H, W, C]` uint8, as large as the network takes them."""
        return {"pixels": torch.from_numpy(self._array(np.arange(len(self))).pixels)}

    def collate(self, indices: Indices, draw: int | None = None) -> dict[str, Tensor]:
        """Return `pixel_values` `[B, C, H, W]`; what chance does to them is done on the device, to a whole batch."""
        return {"pixel_values": self.preparation.normalised(self.prepared(indices))}

    def _array(self, indices: Indices) -> PreparedImages:
        parts = [indices[start : start + _AT_ONCE] for start in range(0, len(indices), _AT_ONCE)]
        return _array([_as_bytes(self.prepared(part)) for part in parts])


def _array(parts: Sequence[Pixels]) -> PreparedImages:
    """Prepared images in memory, of parts `[N, H, W, C]`."""
    pixels = np.concatenate(parts)
    return PreparedImages(pixels, np.zeros(len(pixels), np.int64))


def _as_bytes(pixels: Tensor) -> Pixels:
    found: Pixels = pixels.to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return found


def _as_tensor(image: Pixels) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float()


class ImageClassification(Problem):
    """Images with one class each.

    Features are what the network itself pools, or else the mean over positions, or of a sequence its first state.

    Args:
        preparation: what is made of an image.
        augment: what chance does to an image whenever it is learned; None: nothing.

    Attributes:
        reading: how files of images are decoded.
    """

    items = "images"
    size_key = "backbone.image.size"

    def __init__(self, preparation: Preparation, augment: RandomImages | None = None) -> None:
        self.preparation, self.augment = preparation, augment
        self.reading = READING

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> ImageBackbone:
        """Load a network that takes `pixel_values`, and how its images are prepared."""
        return load_image_backbone(config)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a backbone."""
        assert isinstance(backbone, ImageBackbone)
        asked = settings.augment if isinstance(settings, ImageClassificationSettings) else None
        return cls(backbone.preparation, None if asked is None else RandomImages(asked))

    def save(self, backbone: Backbone, folder: Path) -> None:
        """Write weights, config.json and preprocessor_config.json."""
        assert isinstance(backbone, ImageBackbone)
        save_image_backbone(backbone, folder)

    def encode(self, split: Split, first_row: int = 0) -> LabelledExamples:
        """Return the images of a split and their rows; no image is read."""
        assert isinstance(split, Images)
        inputs = self._encoded(split)
        rows, weights = split.labels + first_row, self.weights_of(split.labels)
        return LabelledExamples(inputs, rows, split.fingerprint(), weights, self.balanced)

    def read_as(self, source: StreamSource) -> None:
        """Decode files as the `reading` of a stream says, where it has one."""
        reading = getattr(source, "reading", None)
        if isinstance(reading, ImageReading):
            self.reading = reading

    def given(self, inputs: Sequence[object]) -> Images:
        """Return image files by their paths, or arrays of pixels."""
        if all(isinstance(one, np.ndarray) for one in inputs):
            prepared = (
                self.preparation.resized(np.asarray(one, np.uint8), f"image {number}")
                for number, one in enumerate(inputs, 1)
            )
            return _array([_as_bytes(image[None]) for image in prepared])
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
        array = PreparedImages(pixels.cpu().numpy(), np.zeros(len(pixels), np.int64))
        weights = self.restored_weights(tensors, len(rows))
        return LabelledExamples(self._encoded(array), rows.cpu().numpy(), weights=weights)

    def augmented(self, batch: Batch, draw: int) -> Batch:
        """Return the batch with what chance does to each of its images."""
        if self.augment is None:
            return batch
        pixels = self.preparation.pixels(batch.inputs["pixel_values"])
        changed = self.preparation.normalised(255 * self.augment(pixels, batch.indices, draw))
        return replace(batch, inputs={"pixel_values": changed})

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401  (a class per network)
        """Return one vector per image, `[B, d]`."""
        pooled = getattr(found, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1).float()  # type: ignore[no-any-return]
        states: Tensor = found.last_hidden_state.float()
        return states.flatten(2).mean(2) if states.dim() == 4 else states[:, 0]

    def fingerprint(self) -> str:
        """Return the sha256 of how images are resized and normalised; what chance does is kept nowhere."""
        prepared, how = self.preparation, "bilinear, antialiased, rounded"
        content: list[object] = [prepared.size, prepared.mean, prepared.std, how]
        if (prepared.before, prepared.resample) != (None, "bilinear"):
            content += [prepared.before, prepared.resample]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _encoded(self, images: Images) -> EncodedImages:
        return EncodedImages(((images, np.arange(len(images))),), self.preparation, self.augment is None)
