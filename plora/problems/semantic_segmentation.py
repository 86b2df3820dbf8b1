"""Semantic segmentation: a class for every pixel, by queries that answer with masks, or by each patch for itself."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from plora.backbones import Backbone, BackboneConfig
from plora.backbones.eomt import Masks, Segmenter
from plora.backbones.segmenters import SegmentationBackbone, load_segmentation_backbone, save_segmentation_backbone
from plora.errors import BackboneError, DataError, RunError
from plora.moment import Moment
from plora.problems.augmentation import require_kornia
from plora.problems.bare_images import BareImages
from plora.problems.base import Batch, Columns, Indices, Problem, stored
from plora.problems.encoded_maps import EncodedMaps, Layout
from plora.problems.mask_annealing import shares_masked
from plora.problems.mask_loss import MaskLoss
from plora.problems.pair_augmentation import random_pairs
from plora.problems.settings import ProblemSettings, SemanticSegmentationSettings
from plora.results import SCORES, PixelCounts
from plora.streams.base import Scenario, Split, Stream, StreamSource
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageFiles, Pixels
from plora.streams.labelled_images import IGNORED, LabelledImageArray, LabelledImages

_LAST = ("masks", "classes")
"""Outputs of the whole network; those that were made before block i of the last ones are called `masks i`, …"""


class SemanticSegmentation(Problem):
    """A class for every pixel; the network answers by itself.

        score of class c at a pixel = Σ_q softmax(classes of q)_c · sigmoid(mask of q)

    over the C classes without that of no object; the class of a pixel is that of the highest score, at the size that
    the image had. Of patches, scores are their logits, between them bilinear, and the loss is the mean cross-entropy
    of the pixels that are not ignored.

    Args:
        settings: what answers, and whether images are read in windows.
        backbone: EoMT.

    Attributes:
        reading: how files of images are decoded.

    Source: Kerssies et al. 2025 (EoMT, arXiv 2503.19108); scores: Cheng et al. 2021 (MaskFormer, arXiv 2107.06278).
    """

    score = SCORES["mean_iou"]
    record = PixelCounts
    classifies: ClassVar[bool] = False
    of_stream: ClassVar[bool] = True
    items = "images"
    size_key = "backbone.image.size"

    def __init__(self, settings: SemanticSegmentationSettings, backbone: SegmentationBackbone) -> None:
        if settings.augment is not None:
            require_kornia()
        self.settings, self.class_names = settings, backbone.class_names
        configuration = backbone.network.config
        self.loss, self.queries, self.blocks = (
            MaskLoss.of(configuration),
            configuration.num_queries,
            configuration.num_blocks,
        )
        self.reading = READING
        self.layout = Layout(backbone.preparation, len(self.class_names), settings.windows, self._weighs)

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> SegmentationBackbone:
        """Refuse: which classes a network has to tell apart, its stream says."""
        raise BackboneError("a network for segmentation is made to fit the classes of a stream; none was given")

    @classmethod
    def load_for(
        cls, settings: ProblemSettings, config: BackboneConfig, stream: Callable[[], Stream]
    ) -> SegmentationBackbone:
        """Load or make EoMT with a row for each class of a stream.

        Raises:
            BackboneError: as `load_segmentation_backbone`.
            DataError: the stream has no images with maps.
        """
        loaded = stream()
        _require_maps(loaded)
        first = loaded.tasks[0].train
        assert isinstance(first, LabelledImages)
        return load_segmentation_backbone(config, first.class_names)

    @classmethod
    def around(cls, settings: ProblemSettings, backbone: Backbone, config: BackboneConfig, cache: Path | None) -> Self:
        """Return the problem on a network that `load_for` returned."""
        assert isinstance(settings, SemanticSegmentationSettings)
        assert isinstance(backbone, SegmentationBackbone)
        return cls(settings, backbone)

    def save(self, backbone: Backbone, folder: Path) -> None:
        """Write weights, config.json with the names of the classes, and preprocessor_config.json."""
        assert isinstance(backbone, SegmentationBackbone)
        save_segmentation_backbone(backbone, folder)

    def check(self, stream: Stream, scenario: Scenario) -> None:
        """Refuse a stream of anything but images with maps, and tasks of other classes."""
        _require_maps(stream)
        for task in stream.tasks:
            for _, split in task.splits():
                assert isinstance(split, LabelledImages)
                if split.class_names != self.class_names:
                    raise DataError(
                        f"task '{task.name}' has the classes {', '.join(split.class_names)}, and the network tells "
                        f"apart {', '.join(self.class_names)}; give all tasks of the stream the same, in one order"
                    )

    def encode(self, split: Split, first_row: int = 0) -> EncodedMaps:
        """Return the images of a split and their maps; none is read."""
        assert isinstance(split, LabelledImages)
        return EncodedMaps(((split, np.arange(len(split))),), self.layout, split.fingerprint())

    def read_as(self, source: StreamSource) -> None:
        """Decode files as the `reading` of a stream says, where it has one."""
        reading = getattr(source, "reading", None)
        if isinstance(reading, ImageReading):
            self.reading = reading

    def given(self, inputs: Sequence[object]) -> LabelledImages:
        """Return image files by their paths, or arrays of pixels; none of their pixels has a class."""
        if all(isinstance(one, np.ndarray) for one in inputs):
            pixels = [np.asarray(one, np.uint8) for one in inputs]
            maps = [np.full(one.shape[:2], IGNORED, np.uint8) for one in pixels]
            return LabelledImageArray(pixels, maps, self.class_names)
        paths = tuple(Path(str(one)) for one in inputs)
        if absent := [path for path in paths if not path.is_file()]:
            raise DataError(f"image {absent[0]} does not exist, or is no file; name image files")
        return BareImages(ImageFiles(paths, np.zeros(len(paths), np.int64), self.reading), self.class_names)

    def pictures(self, split: Split, indices: Indices) -> Sequence[Pixels] | None:
        """Return some images as they are read."""
        return [one.image for one in split.read(indices)] if isinstance(split, LabelledImages) else None

    def augmented(self, batch: Batch, draw: int) -> Batch:
        """Return the batch with what chance does to each image and its map, and what it weighs then."""
        if self.settings.augment is None:
            return batch
        prepared, names = self.layout.preparation, list(batch.targets)
        pixels = prepared.pixels(batch.inputs["pixel_values"])
        maps = torch.stack([*batch.targets.values()], dim=1)
        changed, maps = random_pairs(pixels, maps, batch.indices, draw, self.settings.augment)
        targets = dict(zip(names, maps.unbind(1), strict=True))
        inputs = {**batch.inputs, "pixel_values": prepared.normalised(255 * changed)}
        return replace(batch, inputs=inputs, targets=targets, weights=self._weighs(targets))

    def restored(self, tensors: Mapping[str, Tensor]) -> EncodedMaps:
        """Return images and maps that were kept as tensors.

        Raises:
            RunError: a tensor is missing or has another type or length.
        """
        kept = _kept(tensors, self.class_names)
        return EncodedMaps(((kept, np.arange(len(kept))),), self.layout)

    def run(
        self, network: nn.Module, inputs: Mapping[str, Tensor], asked: Mapping[str, bool], at: Moment | None = None
    ) -> Masks | Tensor:
        """Return masks and their classes, of all supervised outputs while it learns; or class logits of patches.

        The share of queries that look through their own masks falls with the training; which of them do, the seeds of
        the images decide. Where images are scored none does.
        """
        assert isinstance(network, Segmenter)
        pixels, seeds = inputs["pixel_values"], inputs["seeds"].tolist()
        if self.settings.answer == "patches":
            return network.per_patch(pixels)
        if at is None:
            plain: Masks = network(pixels)
            return plain
        shape = (self.blocks, self.queries)
        chances = [torch.rand(shape, generator=_generator(seed, 0, pixels), device=pixels.device) for seed in seeds]
        annealed: Masks = network(pixels, shares_masked(at.share, self.blocks), torch.stack(chances))
        return annealed

    def features(self, found: Any, inputs: Mapping[str, Tensor]) -> None:  # noqa: ANN401  (as every problem has it)
        """Return none: the network answers by itself."""

    def outputs(self, found: Masks | Tensor, scores: Tensor | None) -> dict[str, Tensor]:
        """Return `masks` `[R, Q, h, w]` and `classes` `[R, Q, C + 1]`, or `patches` `[R, C, h, w]`; all are logits.

        While queries learn, there are those that were made before each of the last blocks, too: `masks 0`, …
        """
        if isinstance(found, Tensor):
            return {"patches": found[:, : len(self.class_names)]}
        last = dict(zip(_LAST, (found.masks[-1], found.classes[-1]), strict=True))
        earlier = enumerate(zip(found.masks[:-1], found.classes[:-1], strict=True))
        return last | {f"{name} {block}": one for block, both in earlier for name, one in zip(_LAST, both, strict=True)}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return `class`, `mask` and `dice`, sums over images and supervised outputs; or `cross_entropy` of pixels."""
        maps = batch.targets["classes"]
        if self.settings.answer == "patches":
            logits = F.interpolate(outputs["patches"].float(), maps.shape[1:], mode="bilinear")
            return {"cross_entropy": F.cross_entropy(logits, maps.long(), ignore_index=IGNORED, reduction="sum")}
        supervised = [""] + [f" {block}" for block in range(self.blocks) if f"masks {block}" in outputs]
        sums: dict[str, list[Tensor]] = {}
        for image, seed in enumerate(batch.inputs["seeds"].tolist()):
            labels: Tensor = torch.unique(maps[image]).long()
            labels = labels[labels != IGNORED]
            truth = (maps[image] == labels[:, None, None]).float()
            generator = _generator(seed, 1, maps)
            for which in supervised:
                masks, classes = (outputs[f"{name}{which}"][image] for name in _LAST)
                for name, loss in self.loss.losses(masks, classes, truth, labels, generator).items():
                    sums.setdefault(name, []).append(loss)
        return {name: torch.stack(found).sum() for name, found in sums.items()}

    def scores(self, outputs: Mapping[str, Tensor], batch: Batch) -> Iterator[Tensor]:
        """Yield the scores `[C, H, W]` of each image of a batch that is scored, at the size that it had.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
        """
        size, windows = self.layout.preparation.size, batch.targets["windows"].tolist()
        first = 0
        for height, width, number in batch.targets["sizes"].tolist():
            canvas = windows[first][2:]
            summed = torch.zeros(len(self.class_names), *canvas, device=batch.targets["truth"].device)
            counts = torch.zeros(canvas, device=summed.device)
            for row in range(first, first + number):
                top, left, *_ = windows[row]
                place = (slice(top, top + size[0]), slice(left, left + size[1]))
                summed[:, *place] += self._scores(outputs, row)
                counts[place] += 1
            first += number
            yield F.interpolate((summed / counts)[None], (height, width), mode="bilinear")[0]

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `confusion` `[B, C, C]`: how many pixels of a class are taken for which."""
        C = len(self.class_names)
        found = []
        for truth, scores in zip(batch.targets["truth"], self.scores(outputs, batch), strict=True):
            true = truth[: scores.shape[1], : scores.shape[2]].long()
            valid = true != IGNORED
            pairs = true[valid] * C + scores.argmax(0)[valid]
            found.append(pairs.bincount(minlength=C * C).reshape(C, C).cpu().numpy())
        return {"confusion": np.stack(found)}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> PixelCounts:
        """Return the record."""
        return PixelCounts.of_confusions(task, example, columns["confusion"], self.class_names)  # type: ignore[arg-type]

    def fingerprint(self) -> str:
        """Return the sha256 of classes and of how images and maps are resized and normalised."""
        prepared = self.layout.preparation
        content = [
            self.class_names,
            prepared.size,
            prepared.mean,
            prepared.std,
            prepared.resample,
            self.settings.windows,
        ]
        return hashlib.sha256(json.dumps([*content, "bilinear scores, nearest maps"]).encode()).hexdigest()

    def _weighs(self, targets: Mapping[str, Tensor]) -> dict[str, float]:
        maps = targets["classes"].cpu().numpy()
        if self.settings.answer == "patches":
            return {"cross_entropy": float((maps != IGNORED).sum()) or 1e-9}  # beside any pixel, nothing in fp32
        return self.loss.weights([int((np.unique(one) != IGNORED).sum()) for one in maps], self.queries)

    def _scores(self, outputs: Mapping[str, Tensor], row: int) -> Tensor:
        """Of one row, `[C, h, w]` at the network's size."""
        size = self.layout.preparation.size
        if self.settings.answer == "patches":
            return F.interpolate(outputs["patches"][row : row + 1].float(), size, mode="bilinear")[0]
        masks = F.interpolate(outputs["masks"][row : row + 1].float(), size, mode="bilinear")[0].sigmoid()
        classes = outputs["classes"][row].float().softmax(1)[:, :-1]
        return torch.einsum("qc,qhw->chw", classes, masks)


def _generator(seed: int, what: int, beside: Tensor) -> torch.Generator:
    """Chance of one image, for one purpose, on the device of a tensor."""
    return torch.Generator(beside.device).manual_seed(2 * seed + what)


def _require_maps(stream: Stream) -> None:
    for task in stream.tasks:
        for _, split in task.splits():
            if not isinstance(split, LabelledImages):
                raise DataError(
                    f"problem 'semantic_segmentation' needs images with a class for every pixel, and task "
                    f"'{task.name}' of stream '{stream.name}' has {type(split).__name__.lower()}; set problem.kind to "
                    "what the stream holds"
                )


def _kept(tensors: Mapping[str, Tensor], class_names: tuple[str, ...]) -> LabelledImageArray:
    """Images and maps that stand one after the other in bytes."""
    types = {"images": torch.uint8, "maps": torch.uint8, "shapes": torch.int64}
    images, maps, shapes = (tensor.numpy() for tensor in stored(tensors, types, "images").values())
    shapes = shapes.reshape(-1, 3) if len(shapes) % 3 == 0 else np.full((1, 3), -1)
    pixels = shapes[:, 0] * shapes[:, 1]
    if (shapes < 1).any() or pixels.sum() != len(maps) or (pixels * shapes[:, 2]).sum() != len(images):
        raise RunError("the parts of the stored images differ in length")
    starts = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum([pixels * shapes[:, 2], pixels], axis=1).T])
    return LabelledImageArray(
        [
            images[start:end].reshape((h, w, c) if c > 1 else (h, w))
            for (h, w, c), start, end in zip(shapes, starts[:-1, 0], starts[1:, 0], strict=True)
        ],
        [
            maps[start:end].reshape(h, w)
            for (h, w, _), start, end in zip(shapes, starts[:-1, 1], starts[1:, 1], strict=True)
        ],
        class_names,
    )
