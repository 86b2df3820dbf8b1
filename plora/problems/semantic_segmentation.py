"""Semantic segmentation: a class for every pixel, by queries that answer with masks, or by each patch for itself."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from plora.problems.bare_images import BareImages
from plora.problems.base import Batch, Columns, Indices, Problem, stored
from plora.problems.encoded_maps import EncodedMaps, Layout
from plora.problems.mask_annealing import shares_masked
from plora.problems.mask_loss import MaskLoss
from plora.problems.settings import ProblemSettings, SemanticSegmentationSettings
from plora.results import SCORES, Measurements, PixelCounts
from plora.streams.base import Scenario, Split, Stream, StreamSource
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageFiles, Pixels
from plora.streams.labelled_images import IGNORED, ClassPixels, LabelledImageArray, LabelledImages

_LAST = ("masks", "classes")
"""Outputs of the whole network; those that were made before block i of the last ones are called `masks i`, …"""


class SemanticSegmentation(Problem):
    """A class for every pixel; the network answers by itself.

        score of class c at a pixel = Σ_q softmax(classes of q)_c · sigmoid(mask of q)

    over the C classes without that of no object; the class of a pixel is that of the highest score, at the size that
    the image had. Where classes arrive in steps, those of later steps have no scores yet, stand in no softmax, and are
    background, the first class, where images are scored. Of patches, scores are their logits, between them bilinear,
    and the loss is the mean cross-entropy of the pixels that are not ignored.

    Args:
        settings: what answers, and whether images are read in windows.
        backbone: EoMT.

    Attributes:
        score: `mean_iou`, or `foreground_iou`, as the settings say.
        reading: how files of images are decoded.

    Source: Kerssies et al. 2025 (EoMT, arXiv 2503.19108); scores: Cheng et al. 2021 (MaskFormer, arXiv 2107.06278).
    """

    record = PixelCounts
    classifies: ClassVar[bool] = False
    of_stream: ClassVar[bool] = True
    items = "images"
    size_key = "backbone.image.size"

    def __init__(self, settings: SemanticSegmentationSettings, backbone: SegmentationBackbone) -> None:
        self.settings, self.class_names = settings, backbone.class_names
        self.score = SCORES[settings.score]
        configuration = backbone.network.config
        self.mask_loss, self.queries, self.blocks = (
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
        """Return `class`, `mask` and `dice`, sums over images and supervised outputs; or `cross_entropy` of pixels.

        Args:
            outputs: of the batch.
            batch: with its targets.
            competing: `[rows, rows]`, as many as classes are learned by now, the first ones; without rows: all are.
        """
        maps, C = batch.targets["classes"], len(competing) or len(self.class_names)
        if self.settings.answer == "patches":
            logits = F.interpolate(outputs["patches"][:, :C].float(), maps.shape[1:], mode="bilinear")
            return {"cross_entropy": F.cross_entropy(logits, maps.long(), ignore_index=IGNORED, reduction="sum")}
        supervised = [""] + [f" {block}" for block in range(self.blocks) if f"masks {block}" in outputs]
        sums: dict[str, list[Tensor]] = {}
        for image, seed in enumerate(batch.inputs["seeds"].tolist()):
            labels: Tensor = torch.unique(maps[image]).long()
            labels = labels[labels != IGNORED]
            truth = (maps[image] == labels[:, None, None]).float()
            generator = _generator(seed, 1, maps)
            for which in supervised:
                masks, every = (outputs[f"{name}{which}"][image] for name in _LAST)
                classes = torch.cat([every[:, :C], every[:, -1:]], dim=1)
                for name, loss in self.mask_loss.losses(masks, classes, truth, labels, generator).items():
                    sums.setdefault(name, []).append(loss)
        return {name: torch.stack(found).sum() for name, found in sums.items()}

    def pixel_logits(self, outputs: Mapping[str, Tensor], classes: int) -> Tensor:
        """Return `[R, C, h, w]`: logits of patches, or log scores of queries, of which softmax is the share of each.

        Args:
            outputs: of a batch.
            classes: the C first ones; 0: all.
        """
        C = classes or len(self.class_names)
        if self.settings.answer == "patches":
            return outputs["patches"][:, :C].float()
        masks, every = (outputs[name].float() for name in _LAST)
        shares = torch.cat([every[..., :C], every[..., -1:]], dim=-1).softmax(-1)[..., :-1]
        scores = torch.einsum("rqc,rqhw->rchw", shares, masks.sigmoid())
        return scores.clamp_min(1e-8).log()

    def scores(
        self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_] | None = None
    ) -> Iterator[Tensor]:
        """Yield the scores `[C, H, W]` of each image of a batch that is scored, at the size that it had.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
            visible: `[rows]` the classes learned by now, the others score −∞; None, or without rows: all are.
        """
        hidden = torch.zeros(len(self.class_names), dtype=torch.bool, device=batch.targets["truth"].device)
        if visible is not None and len(visible):
            hidden[: len(visible)] = torch.from_numpy(~visible)
            hidden[len(visible) :] = True
        size, windows = self.layout.preparation.size, batch.targets["windows"].tolist()
        first = 0
        for height, width, number in batch.targets["sizes"].tolist():
            canvas = windows[first][2:]
            summed = torch.zeros(len(self.class_names), *canvas, device=batch.targets["truth"].device)
            counts = torch.zeros(canvas, device=summed.device)
            for row in range(first, first + number):
                top, left, *_ = windows[row]
                place = (slice(top, top + size[0]), slice(left, left + size[1]))
                summed[:, *place] += self._scores(outputs, row, hidden)
                counts[place] += 1
            first += number
            found = F.interpolate((summed / counts)[None], (height, width), mode="bilinear")[0]
            yield found.masked_fill(hidden[:, None, None], float("-inf"))

    def measure(self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_]) -> Columns:
        """Return `confusion` `[B, C, C]`: how many pixels of a class are taken for which.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
            visible: `[rows]` the classes learned by now: others are background, the first. Without rows: all are.
        """
        C = len(self.class_names)
        found = []
        for truth, scores in zip(batch.targets["truth"], self.scores(outputs, batch, visible), strict=True):
            true = truth[: scores.shape[1], : scores.shape[2]].long()
            if len(visible):
                known = torch.zeros(IGNORED + 1, dtype=torch.bool)
                known[IGNORED], known[: len(visible)] = True, torch.from_numpy(visible)
                true = true.where(known.to(true.device)[true], 0)
            valid = true != IGNORED
            pairs = true[valid] * C + scores.argmax(0)[valid]
            found.append(pairs.bincount(minlength=C * C).reshape(C, C).cpu().numpy())
        return {"confusion": np.stack(found)}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> PixelCounts:
        """Return the record."""
        return PixelCounts.of_confusions(task, example, columns["confusion"], self.class_names)  # type: ignore[arg-type]

    def with_names(self, kept: Measurements, names: tuple[str, ...]) -> Measurements:
        """Return the record as it is: it knows all classes from the start."""
        return kept

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

    def _weighs(self, maps: ClassPixels) -> dict[str, float]:
        if self.settings.answer == "patches":
            return {"cross_entropy": float((maps != IGNORED).sum()) or 1e-9}  # beside any pixel, nothing in fp32
        return self.mask_loss.weights([int((np.unique(one) != IGNORED).sum()) for one in maps], self.queries)

    def _scores(self, outputs: Mapping[str, Tensor], row: int, hidden: Tensor) -> Tensor:
        """Of one row, `[C, h, w]` at the network's size; hidden classes, `[C]`, are in no softmax."""
        size = self.layout.preparation.size
        if self.settings.answer == "patches":
            return F.interpolate(outputs["patches"][row : row + 1].float(), size, mode="bilinear")[0]
        masks = F.interpolate(outputs["masks"][row : row + 1].float(), size, mode="bilinear")[0].sigmoid()
        every = F.pad(hidden, (0, 1))  # that of no object is always there
        classes = outputs["classes"][row].float().masked_fill(every, float("-inf")).softmax(1)[:, :-1]
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
