"""Give every pixel of new images a class with a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plora.batches.class_maps import class_maps
from plora.errors import DataError, RunError
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.runs.loading import load_learner
from plora.runs.predicting import require_task
from plora.streams.image_reading import Pixels
from plora.streams.labelled_images import ClassPixels
from plora.streams.video import is_video, read_frames

_FRAMES = 32
"""Of a video that are in memory at once."""


@dataclass(frozen=True)
class Segmented:
    """The class of each pixel of one image.

    Args:
        input: as it was given; of a video its `Frame`.
        image: `[H, W, 3]` or `[H, W]` uint8, as it was read.
        classes: `[H, W]` uint8, 0 … C − 1, at the size of the image.
        class_names: of the C classes.
        outliers: `[H, W]` in 0 to 1, where the outlier score lies in its range; None where the run measures none.
    """

    input: object
    image: Pixels
    classes: ClassPixels
    class_names: tuple[str, ...]
    outliers: NDArray[np.float32] | None = None

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has, the largest first; classes without a pixel are left out."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.class_names))
        order = [at for at in np.argsort(-counts, kind="stable").tolist() if counts[at]]
        return {self.class_names[at]: float(counts[at] / self.classes.size) for at in order}


def segment(path: Path, images: Sequence[object], task: str | None = None) -> Iterator[Segmented]:
    """Yield the classes of new images, in their order, with a run's last checkpoint; few images are in memory at once.

    Args:
        path: the run folder.
        images: paths of images or videos, or pixels `[H, W]` or `[H, W, 3]` uint8. A video stands for its frames.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no image, or one cannot be read.
        RunError: the answers of the run's problem are no maps.
    """
    if not images:
        raise DataError("nothing to segment: no image was given")
    learner, learned, space = load_learner(path)
    problem = learner.model.problem
    if not isinstance(problem, SemanticSegmentation):
        raise RunError(f"{path} gives pixels no classes, it is scored by {problem.score.title}; use `plora predict`")
    named = require_task(task, learned.tasks, space.scenario)
    visible = space.visible(named, learned.tasks)
    for inputs, given in _portions(images):
        examples = problem.encode(problem.given(given))
        for one in class_maps(learner.extractor, problem, examples, named, visible):
            (read,) = examples.read(np.array([one.index]))
            yield Segmented(inputs[one.index], read.image, one.classes, problem.class_names, one.outliers)


def _portions(images: Sequence[object]) -> Iterator[tuple[Sequence[object], Sequence[object]]]:
    """What to call some images, and the images: those between videos, and frames of a video, few at once."""
    for video, several in groupby(images, is_video):
        if not video:
            between = list(several)
            yield between, between
            continue
        for path in several:
            frames = read_frames(Path(str(path)))
            while portion := list(islice(frames, _FRAMES)):
                yield [frame for frame, _ in portion], [pixels for _, pixels in portion]
