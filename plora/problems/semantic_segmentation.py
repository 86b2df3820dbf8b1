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
from plora.backbones.cosine_classes import require_cosines, with_cosines
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
from plora.problems.outlier_data import require_outliers, with_outlier_class
from plora.problems.outlier_exposure import Exposure
from plora.problems.outlier_scores import INLIER, OUTLIER, UNSAID, OutlierMeasure
from plora.problems.own_classes import NOTHING, united
from plora.problems.pair_augmentation import random_pairs
from plora.problems.settings import ProblemSettings, SemanticSegmentationSettings
from plora.results import SCORES, Measurements, PixelCounts
from plora.streams.base import Scenario, Split, Stream, StreamSource
from plora.streams.cutouts import Cutouts
from plora.streams.image_reading import ImageReading
from plora.streams.images import READING, ImageFiles, Pixels
from plora.streams.labelled_images import IGNORED, LabelledImageArray, LabelledImages

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
        if settings.augment is not None:
            require_kornia()
        names = backbone.class_names
        self.settings, self.class_names = settings, names[:-1] if settings.outlier_class else names
        self.score = SCORES[settings.score]
        exposure, outlier = settings.exposure, settings.outlier
        self.exposure = None if exposure is None else Exposure(exposure, Cutouts(exposure.objects))
        self.outliers = (
            None if outlier is None else OutlierMeasure(outlier, len(self.class_names), settings.answer == "patches")
        )
        configuration = backbone.network.config
        self.mask_loss, self.queries, self.blocks = (
            MaskLoss.of(configuration, settings.arcface),
            configuration.num_queries,
            configuration.num_blocks,
        )
        self.reading = READING
        self.layout = Layout(
            backbone.preparation,
            len(self.class_names),
            settings.windows,
            self._weighs,
            None if self.exposure is None else self.exposure.pasted,
            self.outliers is not None,
        )

    @classmethod
    def load(cls, settings: ProblemSettings, config: BackboneConfig) -> SegmentationBackbone:
        """Refuse: which classes a network has to tell apart, its stream says."""
        raise BackboneError("a network for segmentation is made to fit the classes of a stream; none was given")

    @classmethod
    def load_for(
        cls, settings: ProblemSettings, config: BackboneConfig, stream: Callable[[], Stream]
    ) -> SegmentationBackbone:
        """Load or make EoMT with a row for each class of a stream, and one of outliers where they are a class.

        Raises:
            BackboneError: as `load_segmentation_backbone`; or its classes were learned by angles, and are not asked so.
            DataError: the stream has no images with maps, or a class that is called as that of outliers.
        """
        assert isinstance(settings, SemanticSegmentationSettings)
        loaded = stream()
        settings.require(loaded)
        first = loaded.tasks[0].train
        assert isinstance(first, LabelledImages)
        names = with_outlier_class(first.class_names) if settings.outlier_class else first.class_names
        backbone = load_segmentation_backbone(config, names)
        require_cosines(backbone, settings.arcface is not None)
        return backbone if settings.arcface is None else with_cosines(backbone, settings.arcface.scale)

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
        """Refuse tasks of other classes, a lack of known outliers, and objects to learn from that cannot be read."""
        for task in stream.tasks:
            for _, split in task.splits():
                assert isinstance(split, LabelledImages)
                if split.class_names != self.class_names:
                    raise DataError(
                        f"task '{task.name}' has the classes {', '.join(split.class_names)}, and the network tells "
                        f"apart {', '.join(self.class_names)}; give all tasks of the stream the same, in one order"
                    )
        if self.exposure is not None:
            self.exposure.cutouts.require_readable()
        if self.outliers is not None:
            require_outliers(
                stream, ("test",) if not self.settings.score.startswith("outlier") else ("validation", "test")
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
            return {"patches": found[:, : self._rows]}
        last = dict(zip(_LAST, (found.masks[-1], found.classes[-1]), strict=True))
        earlier = enumerate(zip(found.masks[:-1], found.classes[:-1], strict=True))
        return last | {f"{name} {block}": one for block, both in earlier for name, one in zip(_LAST, both, strict=True)}

    def united(self, each: Sequence[Mapping[str, Tensor]], own: Sequence[slice]) -> dict[str, Tensor]:
        """Return the outputs of T slots side by side, `[R, T, …]`, and `own` `[T, 2]`, the rows of their classes."""
        apart = {name: torch.stack([outputs[name] for outputs in each], dim=1) for name in each[0]}
        return apart | {"own": torch.tensor([(rows.start, rows.stop) for rows in own])}

    def losses(self, outputs: Mapping[str, Tensor], batch: Batch, competing: Tensor) -> dict[str, Tensor]:
        """Return `class`, `mask` and `dice`, sums over images and supervised outputs; or `cross_entropy` of pixels.

        Of exposed images `exposure_inlier` and `exposure_outlier` besides, sums over pixels.

        Args:
            outputs: of the batch.
            batch: with its targets.
            competing: `[rows, rows]`, as many as classes are learned by now, the first ones; without rows: all are.
        """
        every, C = len(self.class_names), len(competing) or len(self.class_names)
        maps, exposed = self._learned(batch.targets, C), {}
        if self.exposure is not None and "outliers" in batch.targets:
            hidden = self._hidden(np.ones(C, np.bool_), maps.device)
            known = [self._scores(outputs, row, hidden)[:C] for row in range(len(maps))]
            exposed = self.exposure.losses(known, batch.targets["outliers"])
        if self.settings.answer == "patches":
            logits = torch.cat([outputs["patches"][:, :C], outputs["patches"][:, every:]], dim=1).float()
            logits = F.interpolate(logits, maps.shape[1:], mode="bilinear")
            own = F.cross_entropy(logits, maps.long(), ignore_index=IGNORED, reduction="sum")
            return {"cross_entropy": own, **exposed}
        supervised = [""] + [f" {block}" for block in range(self.blocks) if f"masks {block}" in outputs]
        sums: dict[str, list[Tensor]] = {}
        for image, seed in enumerate(batch.inputs["seeds"].tolist()):
            labels: Tensor = torch.unique(maps[image]).long()
            labels = labels[labels != IGNORED]
            truth = (maps[image] == labels[:, None, None]).float()
            generator = _generator(seed, 1, maps)
            for which in supervised:
                masks, rows = (outputs[f"{name}{which}"][image] for name in _LAST)
                classes = torch.cat([rows[:, :C], rows[:, every:]], dim=1)
                for name, loss in self.mask_loss.losses(masks, classes, truth, labels, generator).items():
                    sums.setdefault(name, []).append(loss)
        return {name: torch.stack(found).sum() for name, found in sums.items()} | exposed

    def dense_logits(self, outputs: Mapping[str, Tensor], classes: int) -> Tensor:
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
        for answers in self.answers(outputs, batch, visible):
            yield answers[: len(self.class_names)]

    def outlier_maps(
        self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_] | None = None
    ) -> Iterator[Tensor]:
        """Yield where the outlier scores of each image lie in the range of the score, `[H, W]` in 0 to 1, for people.

        Args:
            outputs, batch, visible: as `scores` has them.

        Raises:
            DataError: no outlier score is measured.
        """
        if self.outliers is None:
            raise DataError("no outlier score is measured; set problem.outlier, such as {score: rba}")
        for answers in self.answers(outputs, batch, visible):
            yield self.outliers.places(self.outliers.scores(answers))

    def answers(
        self, outputs: Mapping[str, Tensor], batch: Batch, visible: NDArray[np.bool_] | None = None
    ) -> Iterator[Tensor]:
        """Yield what `scores` does, and the score of the outlier class after them where there is one."""
        hidden = self._hidden(visible, batch.targets["truth"].device)
        size, windows = self.layout.preparation.size, batch.targets["windows"].tolist()
        first = 0
        for height, width, number in batch.targets["sizes"].tolist():
            canvas = windows[first][2:]
            summed = torch.zeros(self._rows, *canvas, device=batch.targets["truth"].device)
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
        """Return `confusion` `[B, C, C]`: how many pixels of a class are taken for which; histograms `inlier` and
        `outlier` `[B, bins]` where an outlier score is measured, and `components` `[B, WIDTH]` where it has a
        threshold.

        Args:
            outputs: of the batch, in evaluation.
            batch: with its targets.
            visible: `[rows]` the classes learned by now: others are background, the first. Without rows: all are.
        """
        C = len(self.class_names)
        found: dict[str, list[Tensor]] = {}
        for image, answers in enumerate(self.answers(outputs, batch, visible)):
            own = (image, slice(answers.shape[1]), slice(answers.shape[2]))
            true = batch.targets["truth"][own].long()
            if len(visible):
                known = torch.zeros(IGNORED + 1, dtype=torch.bool)
                known[IGNORED], known[: len(visible)] = True, torch.from_numpy(visible)
                true = true.where(known.to(true.device)[true], 0)
            valid = true != IGNORED
            pairs = true[valid] * C + answers[:C].argmax(0)[valid]
            found.setdefault("confusion", []).append(pairs.bincount(minlength=C * C).reshape(C, C))
            if self.outliers is not None:
                truth, threshold = batch.targets["true_outliers"][own], self.outliers.settings.threshold
                both = self.outliers.histograms(answers, truth)
                for name, histogram in zip(("inlier", "outlier"), both, strict=True):
                    found.setdefault(name, []).append(histogram)
                if threshold is not None:
                    found.setdefault("components", []).append(self.outliers.components(answers, truth, threshold))
        return {name: torch.stack(each).cpu().numpy() for name, each in found.items()}

    def measurements(
        self, task: NDArray[np.str_], example: NDArray[np.int32], columns: Columns, names: tuple[str, ...]
    ) -> PixelCounts:
        """Return the record."""
        more = (columns.get(name) for name in ("inlier", "outlier", "components"))
        return PixelCounts.of_confusions(task, example, columns["confusion"], self.class_names, *more)  # type: ignore[arg-type]

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

    def _weighs(self, targets: Mapping[str, Tensor]) -> dict[str, float]:
        maps = self._learned(targets, len(self.class_names)).cpu().numpy()
        exposed: dict[str, float] = {}
        if self.exposure is not None and "outliers" in targets:
            exposed = self.exposure.weights(targets["outliers"])
        if self.settings.answer == "patches":
            # Beside any pixel, nothing in fp32.
            return {"cross_entropy": float((maps != IGNORED).sum()) or 1e-9, **exposed}
        return self.mask_loss.weights([int((np.unique(one) != IGNORED).sum()) for one in maps], self.queries) | exposed

    def _learned(self, targets: Mapping[str, Tensor], classes: int) -> Tensor:
        """Maps as they are learned, `[R, h, w]`: outliers have the row after those of the classes, or none."""
        maps = targets["classes"]
        if not self.settings.outlier_class or "outliers" not in targets:
            return maps
        return maps.masked_fill(targets["outliers"] == OUTLIER, classes)

    def _hidden(self, visible: NDArray[np.bool_] | None, device: torch.device) -> Tensor:
        """Which rows are of classes that are not learned yet, `[rows]`; that of outliers is of none."""
        hidden = torch.zeros(self._rows, dtype=torch.bool, device=device)
        if visible is not None and len(visible):
            hidden[: len(visible)] = torch.from_numpy(~visible)
            hidden[len(visible) : len(self.class_names)] = True
        return hidden

    @property
    def _rows(self) -> int:
        """How many classes the network tells apart."""
        return len(self.class_names) + self.settings.outlier_class

    def _scores(self, outputs: Mapping[str, Tensor], row: int, hidden: Tensor) -> Tensor:
        """Of one row, `[C, h, w]` at the network's size; hidden classes, `[C]`, are in no softmax.

        Of slots that read it each alone, shares of all classes.
        """
        if "own" not in outputs:
            return self._alone(outputs, row, hidden)
        own = [slice(start, stop) for start, stop in outputs["own"].tolist()]
        later = torch.arange(len(hidden), device=hidden.device)
        shares = []
        for slot, rows in enumerate(own):
            unknown = hidden | (later >= rows.stop)
            one = {name: outputs[name][:, slot] for name in outputs if name != "own"}
            scores = self._alone(one, row, unknown)
            if self.settings.answer == "patches":
                shares.append(scores.masked_fill(unknown[:, None, None], float("-inf")).softmax(0))
            else:
                shares.append(scores / scores.sum(0).clamp_min(NOTHING))
        return united(shares, own)

    def _alone(self, outputs: Mapping[str, Tensor], row: int, hidden: Tensor) -> Tensor:
        """What one slot says of one row; see `_scores`."""
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


def _kept(tensors: Mapping[str, Tensor], class_names: tuple[str, ...]) -> LabelledImageArray:
    """Images and maps that stand one after the other in bytes."""
    types = {"images": torch.uint8, "maps": torch.uint8, "shapes": torch.int64}
    told = {"outliers": torch.uint8} if "outliers" in tensors else {}
    images, maps, shapes, *kinds = (tensor.numpy() for tensor in stored(tensors, types | told, "images").values())
    shapes = shapes.reshape(-1, 3) if len(shapes) % 3 == 0 else np.full((1, 3), -1)
    pixels = shapes[:, 0] * shapes[:, 1]
    fit = all(pixels.sum() == len(part) for part in (maps, *kinds)) and (pixels * shapes[:, 2]).sum() == len(images)
    if (shapes < 1).any() or not fit:
        raise RunError("the parts of the stored images differ in length")
    starts = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum([pixels * shapes[:, 2], pixels], axis=1).T])

    def planes(part: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        ends = zip(shapes, starts[:-1, 1], starts[1:, 1], strict=True)
        return [part[start:end].reshape(h, w) for (h, w, _), start, end in ends]

    of_outliers = [None if (one == UNSAID).any() else one for part in kinds for one in planes(part)]
    return LabelledImageArray(
        [
            images[start:end].reshape((h, w, c) if c > 1 else (h, w))
            for (h, w, c), start, end in zip(shapes, starts[:-1, 0], starts[1:, 0], strict=True)
        ],
        planes(maps),
        class_names,
        [None if one is None else one == OUTLIER for one in of_outliers] if kinds else None,
        [None if one is None else one == INLIER for one in of_outliers] if kinds else None,
    )
