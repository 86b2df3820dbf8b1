"""The class of each pixel of images, as a model sees them."""

from collections.abc import Iterator

import torch

from plora.batches.features import Extractor, autocast
from plora.batches.plan import plan_scoring
from plora.problems.encoded_maps import EncodedMaps
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.streams.labelled_images import ClassPixels


def class_maps(
    extractor: Extractor, problem: SemanticSegmentation, examples: EncodedMaps, task: str | None
) -> Iterator[tuple[int, ClassPixels]]:
    """Yield each image's position and its classes `[H, W]`, at the size of the image; few are in memory at once.

    Args:
        extractor: of the model, which is left in evaluation mode.
        problem: of the model.
        examples: images.
        task: that they belong to, where it is known.
    """
    model = extractor.model.eval()
    for indices in plan_scoring(examples.costs, extractor.tokens_per_batch):
        with torch.inference_mode():
            batch = examples.collate(indices).to(model.device)
            with autocast(model.device, extractor.precision):
                outputs = model.outputs(batch, task)
            found = [scores.argmax(0).to(torch.uint8).cpu().numpy() for scores in problem.scores(outputs, batch)]
        yield from zip(indices.tolist(), found, strict=True)
