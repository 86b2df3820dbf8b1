"""Images with maps of classes, as a network takes them: resized whole, or in windows that overlap."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from plora.backbones import Preparation
from plora.backbones.preparation import Size
from plora.errors import DataError
from plora.problems.base import Batch, Examples, Indices
from plora.problems.outlier_scores import outlier_map
from plora.streams.labelled_images import IGNORED, ClassPixels, LabelledImage, LabelledImages


@dataclass(frozen=True)
class Layout:
    """How images and maps become batches.

    Args:
        preparation: what is made of an image.
        classes: C.
        windows: an image keeps its shape and is read in windows of the network's size.
        weighs: of targets as they are learned, what they weigh in each loss.
        expose: pastes outliers into an image that is learned, by its draw and its index; None: nothing does.
        measures_outliers: outliers have a part in what is measured.
    """

    preparation: Preparation
    classes: int
    windows: bool
    weighs: Callable[[Mapping[str, Tensor]], dict[str, float]]
    expose: Callable[[LabelledImage, int, int], LabelledImage] | None = None
    measures_outliers: bool = False

    def canvas(self, height: int, width: int) -> Size:
        """Return the size that an image of this size is resized to; the network reads all of it, or windows of it."""
        own = self.preparation.size
        if not self.windows:
            return own
        scale = max(own[0] / height, own[1] / width)
        return max(own[0], round(scale * height)), max(own[1], round(scale * width))

    def corners(self, canvas: Size) -> list[Size]:
        """Return top and left of the windows of a canvas, evenly spaced: as few as cover it."""
        tops, lefts = (_starts(whole, own) for whole, own in zip(canvas, self.preparation.size, strict=True))
        return [(top, left) for top in tops for left in lefts]


def _starts(whole: int, own: int) -> list[int]:
    number = -(-whole // own)
    return [0] if number == 1 else [number_ * (whole - own) // (number - 1) for number_ in range(number)]


@dataclass(frozen=True)
class EncodedMaps(Examples):
    """Images of one or more splits with their maps, read when they are batched.

    What chance decides about an example, besides the window in which it is learned, follows from its `seeds`: so an
    example is not `fixed`, though its pixels are.

    Args:
        parts: splits, and which of their images, one after the other.
        layout: how they become batches.
        fingerprint: sha256 of the content.
    """

    parts: tuple[tuple[LabelledImages, Indices], ...]
    layout: Layout
    fingerprint: str = ""
    rows: Indices = field(default_factory=lambda: np.empty(0, np.int64))
    fixed: ClassVar[bool] = False  # type: ignore[misc]

    @property
    def costs(self) -> Indices:
        """`[N]` tokens of the network, the same for all."""
        return np.full(sum(len(own) for _, own in self.parts), self.layout.preparation.cost, np.int64)

    @property
    def slow(self) -> bool:  # type: ignore[override]  # decided by the splits
        """Whether a split is slow to read."""
        return any(split.slow for split, _ in self.parts)

    def read(self, indices: Indices) -> list[LabelledImage]:
        """Return some images and their maps as they are.

        Raises:
            DataError: a map has a class that is none of the stream's; says which.
        """
        return [self._checked(split, own) for split, own in self._places(indices)]

    def collate(self, indices: Indices, draw: int | None = None) -> Batch:
        """Return R rows: an image each, or its windows; one of them by chance where a draw decides.

        Inputs are `pixel_values` `[R, C, h, w]` and `seeds` `[R]`. Targets are `classes` `[R, h, w]`; and where images
        are scored, each at its own size, `truth` `[B, H, W]` (what is beside a smaller one is ignored), `sizes`
        `[B, 3]`: height, width and number of rows; and `windows` `[R, 4]`: top, left, height and width of the canvas.
        Maps of outliers stand beside both where they are wanted: `outliers` `[R, h, w]`, `true_outliers` `[B, H, W]`,
        which is ignored in images of which nobody says what is an outlier.
        """
        layout, size = self.layout, self.layout.preparation.size
        pixels, maps, kinds, seeds, windows, numbers = [], [], [], [], [], []
        found = self.read(indices)
        if exposed := draw is not None and layout.expose is not None:
            found = [layout.expose(one, draw, index) for index, one in zip(indices.tolist(), found, strict=True)]
        names = [split.name(own) for split, own in self._places(indices)]
        for index, one, name in zip(indices.tolist(), found, names, strict=True):
            canvas = layout.canvas(*one.classes.shape)
            prepared = replace(layout.preparation, size=canvas).resized(one.image, name)
            resized = nearest(one.classes, canvas)
            of_outliers = nearest(outlier_map(one), canvas) if exposed else None
            seed = 0 if draw is None else _seed(draw, index)
            corners = layout.corners(canvas)
            numbers.append(len(corners))
            for top, left in corners if draw is None else [corners[seed % len(corners)]]:
                own = (slice(top, top + size[0]), slice(left, left + size[1]))
                pixels.append(prepared[:, *own])
                maps.append(resized[own])
                if of_outliers is not None:
                    kinds.append(of_outliers[own])
                seeds.append(seed)
                windows.append((top, left, *canvas))
        inputs = {
            "pixel_values": layout.preparation.normalised(torch.stack(pixels)),
            "seeds": torch.tensor(seeds),
        }
        targets = {"classes": torch.from_numpy(np.stack(maps))}
        if exposed:
            targets["outliers"] = torch.from_numpy(np.stack(kinds))
        weights = layout.weighs(targets)
        if draw is None:
            shapes = [(*one.classes.shape, number) for one, number in zip(found, numbers, strict=True)]
            targets |= {
                "truth": torch.from_numpy(_beside([one.classes for one in found])),
                "sizes": torch.tensor(shapes),
                "windows": torch.tensor(windows),
            }
            if layout.measures_outliers:
                told = [outlier_map(one) for one in found]
                targets["true_outliers"] = torch.from_numpy(_beside(told))
        return Batch(inputs, targets, indices, weights)

    def subset(self, indices: Indices) -> "EncodedMaps":
        """Return some of the examples, still unread."""
        if len(self.parts) == 1:
            ((split, own),) = self.parts
            return replace(self, parts=((split, own[indices]),), fingerprint="")
        parts = tuple((split, np.array([own])) for split, own in self._places(indices))
        return replace(self, parts=parts, fingerprint="")

    def followed_by(self, others: "Sequence[EncodedMaps]") -> "EncodedMaps":
        """Return these examples and others."""
        parts = (*self.parts, *(part for other in others for part in other.parts))
        return replace(self, parts=parts, fingerprint="")

    def tensors(self) -> dict[str, Tensor]:
        """Return all bytes of `images` and `maps`, and `shapes` `[N · 3]`: height, width, channels.

        Where somebody says of an image what is an outlier, also the bytes of `outliers`, as `outlier_map` has them.
        """
        found = self.read(np.arange(len(self)))
        shapes = [(*one.classes.shape, 1 if one.image.ndim == 2 else one.image.shape[2]) for one in found]
        empty = np.empty(0, np.uint8)
        told = {}
        if any(one.outlier is not None for one in found):
            told["outliers"] = torch.from_numpy(np.concatenate([outlier_map(one).ravel() for one in found]))
        return told | {
            "images": torch.from_numpy(np.concatenate([empty, *(one.image.ravel() for one in found)])),
            "maps": torch.from_numpy(np.concatenate([empty, *(one.classes.ravel() for one in found)])),
            "shapes": torch.tensor(shapes, dtype=torch.int64).reshape(-1),
        }

    def _places(self, indices: Indices) -> list[tuple[LabelledImages, int]]:
        """The split of each example, and its position there."""
        borders = np.cumsum([len(own) for _, own in self.parts])
        owners = np.searchsorted(borders, indices, side="right").tolist()
        starts = [0, *borders.tolist()]
        return [
            (self.parts[owner][0], int(self.parts[owner][1][index - starts[owner]]))
            for owner, index in zip(owners, indices.tolist(), strict=True)
        ]

    def _checked(self, split: LabelledImages, index: int) -> LabelledImage:
        (one,) = split.read(np.array([index]))
        unknown = np.setdiff1d(one.classes, [*range(self.layout.classes), IGNORED])
        if len(unknown):
            raise DataError(
                f"{split.name(index)}: its map has the classes {', '.join(map(str, unknown))}; expected 0 to "
                f"{self.layout.classes - 1}, or {IGNORED} for what is ignored"
            )
        return one


def nearest(classes: ClassPixels, size: Size) -> ClassPixels:
    """Return a map at another size: of each pixel the class where its centre lies; no class that was not there.

    Args:
        classes: `[H, W]`.
        size: height and width.
    """
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(classes.shape, size, strict=True))
    found: ClassPixels = classes[rows[:, None], columns]
    return found


def _beside(maps: Sequence[ClassPixels]) -> ClassPixels:
    """Maps of any sizes side by side, `[B, H, W]`."""
    found: ClassPixels = np.full((len(maps), *np.max([one.shape for one in maps], axis=0)), IGNORED, np.uint8)
    for whole, one in zip(found, maps, strict=True):
        whole[: one.shape[0], : one.shape[1]] = one
    return found


def _seed(draw: int, index: int) -> int:
    return int(np.random.SeedSequence([draw, index]).generate_state(1, np.uint64)[0] >> np.uint64(2))
