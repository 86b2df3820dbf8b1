"""The class of each pixel of images, as a model sees them, and how much it looks like an outlier."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plora.batches.features import Extractor, autocast
from plora.batches.plan import plan_scoring
from plora.problems.encoded_maps import EncodedMaps
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.streams.labelled_images import ClassPixels


@dataclass(frozen=True)
class PixelAnswers:
    """What a model says of the pixels of one image.

    Args:
        index: the position of the image.
        classes: `[H, W]`, at the size of the image.
        outliers: `[H, W]` in 0 to 1, where the outlier score lies in its range; None where none is measured.
    """

    index: int
    classes: ClassPixels
    outliers: NDArray[np.float32] | None = None


def class_maps(
    extractor: Extractor,
    problem: SemanticSegmentation,
    examples: EncodedMaps,
    task: str | None,
    visible: NDArray[np.bool_],
) -> Iterator[PixelAnswers]:
    """Yield what is said of each image; few are in memory at once.

    Args:
        extractor: of the model, which is left in evaluation mode.
        problem: of the model.
        examples: images.
        task: that they belong to, where it is known.
        visible: `[rows]` the classes learned by now; of length 0 where tasks add none.
    """
    model = extractor.model.eval()
    for indices in plan_scoring(examples.costs, extractor.tokens_per_batch):
        with torch.inference_mode():
            batch = examples.collate(indices).to(model.device)
            with autocast(model.device, extractor.precision):
                outputs = model.outputs(batch, task)
            scored = problem.scores(outputs, batch, visible)
            found = [scores.argmax(0).to(torch.uint8).cpu().numpy() for scores in scored]
            outliers: list[NDArray[np.float32] | None] = [None] * len(found)
            if problem.outliers is not None:
                outliers = [places.cpu().numpy() for places in problem.outlier_maps(outputs, batch, visible)]
        yield from map(PixelAnswers, indices.tolist(), found, outliers)
