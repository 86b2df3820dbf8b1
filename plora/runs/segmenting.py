"""Give every pixel of new images a class with a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plora.batches.features import autocast
from plora.batches.plan import plan_scoring
from plora.errors import DataError, RunError
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.runs.loading import load_learner
from plora.runs.predicting import require_task


@dataclass(frozen=True)
class Segmented:
    """The class of each pixel of one image.

    Args:
        input: as it was given.
        classes: `[H, W]` uint8, 0 … C − 1, at the size of the image.
        class_names: of the C classes.
    """

    input: object
    classes: NDArray[np.uint8]
    class_names: tuple[str, ...]


def segment(path: Path, images: Sequence[object], task: str | None = None) -> Iterator[Segmented]:
    """Yield the classes of new images, in their order, with a run's last checkpoint; few images are in memory at once.

    Args:
        path: the run folder.
        images: paths of images, or pixels `[H, W]` or `[H, W, 3]` uint8.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no image, or one cannot be read.
        RunError: the answers of the run's problem are no maps.
    """
    if not images:
        raise DataError("nothing to segment: no image was given")
    learner, learned, space = load_learner(path)
    model, extractor = learner.model, learner.extractor
    problem = model.problem
    if not isinstance(problem, SemanticSegmentation):
        raise RunError(f"{path} gives pixels no classes, it is scored by {problem.score.title}; use `plora predict`")
    named = require_task(task, learned.tasks, space.scenario)
    visible = space.visible(named, learned.tasks)
    examples = problem.encode(problem.given(images))
    model.eval()
    for indices in plan_scoring(examples.costs, extractor.tokens_per_batch):
        with torch.inference_mode():
            batch = examples.collate(indices).to(model.device)
            with autocast(model.device, extractor.precision):
                outputs = model.outputs(batch, named)
            scored = problem.scores(outputs, batch, visible)
            maps = [scores.argmax(0).to(torch.uint8).cpu().numpy() for scores in scored]
        for index, classes in zip(indices.tolist(), maps, strict=True):
            yield Segmented(images[index], classes, problem.class_names)
