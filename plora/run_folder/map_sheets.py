"""Sheets of images beside their maps, the true ones and those of the network; for readers: nothing else reads them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from plora import atomic
from plora.batches.class_maps import class_maps
from plora.build import Parts
from plora.problems.semantic_segmentation import SemanticSegmentation
from plora.results import Measurements
from plora.results.pictures.overlay import coloured
from plora.results.pictures.score_map import score_map
from plora.results.record.sheet import EXAMPLES, Pixels, SheetRow, draw_sheet, sheet_name
from plora.results.record.thinning import spread_over
from plora.run_folder.folder import RunFolder
from plora.streams.labelled_images import IGNORED, LabelledImages

TASKS = 3
"""Tasks of a sheet; of more that many, evenly spread: what became of the first ones is seen beside the last."""
APIECE = 3
"""Images of a task."""


def write_map_sheet(
    parts: Parts,
    folder: RunFolder,
    number: int,
    seen: Sequence[str],
    rows: Mapping[str, Measurements],
    hold: Callable[[], object],
) -> None:
    """Write image, truth, prediction and outlier scores of some images after a stage; nothing where pixels have no
    classes.

    Args:
        parts: of the run.
        folder: of the run.
        number: tasks learned by now.
        seen: names of those tasks.
        rows: what was measured of each task.
        hold: brings the model into the state after the stage.
    """
    problem = parts.model.problem
    if not isinstance(problem, SemanticSegmentation):
        return
    hold()
    splits = {task.name: dict(task.splits())[parts.config.evaluation.split] for task in parts.stream.tasks}
    measured = [task for task in seen if task in rows]
    found, images = list[SheetRow](), list[Sequence[Pixels]]()
    for task in (measured[at] for at in spread_over(len(measured), TASKS)):
        split, examples = splits[task], rows[task].example.astype(np.int64)
        assert isinstance(split, LabelledImages)
        chosen = examples[spread_over(len(examples), APIECE)]
        named = task if parts.space.scenario == "task" else None
        some, visible = problem.encode(split).subset(chosen), parts.space.visible(named, seen)
        maps = {one.index: one for one in class_maps(parts.learner.extractor, problem, some, named, visible)}
        for at, (example, one) in enumerate(zip(chosen.tolist(), split.read(chosen), strict=True)):
            answers = maps[at]
            shown = np.setdiff1d(np.concatenate([one.classes.ravel(), answers.classes.ravel()]), [IGNORED]).tolist()
            classes = tuple((number, problem.class_names[number]) for number in shown)
            pictures = [one.image, coloured(one.classes), coloured(answers.classes)]
            if answers.outliers is not None:
                pictures.append(score_map(answers.outliers, 0, 1))
            found.append(SheetRow(f"{task}, image {example + 1}", (None,) * len(pictures), None, classes, task))
            images.append(pictures)
    if found:
        atomic.write_bytes(folder.inside(EXAMPLES, sheet_name(number)), draw_sheet(found, images))
