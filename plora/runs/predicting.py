"""Label new inputs with a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from plora.batches.evaluate import probabilities
from plora.errors import DataError, UnknownTaskError, did_you_mean
from plora.runs.loading import load_learner
from plora.streams.base import TextInput, Texts


@dataclass(frozen=True)
class Prediction:
    """Labels of one text, the likeliest first, with their probabilities."""

    text: TextInput
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(path: Path, texts: Sequence[TextInput], task: str | None = None, top: int = 3) -> list[Prediction]:
    """Label new texts with a run's last checkpoint; the data that it was learned from are not needed.

    Args:
        path: the run folder.
        texts: texts, or pairs of texts for a task learned on pairs.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.
        top: labels to return for each text.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no text.
    """
    if not texts:
        raise DataError("nothing to predict: the input holds no text")
    learner, learned, space = load_learner(path)
    seen, scenario = learned.tasks, space.scenario
    if task is not None and task not in seen:
        raise UnknownTaskError(f"no task '{task}'{did_you_mean(task, seen)}; the run has learned: {', '.join(seen)}")
    if task is not None and scenario != "task":
        raise UnknownTaskError(
            f"this run is {scenario}-incremental and answers without being told the task; leave --task {task} out"
        )
    if task is None and scenario == "task":
        raise UnknownTaskError(
            "this run is task-incremental and has a head per task: name one with --task; "
            f"it has learned: {', '.join(seen)}"
        )
    split = Texts(tuple(texts), np.zeros(len(texts), dtype=np.int64))
    visible = space.visible(task, seen)
    named = task if scenario == "task" else None
    # A subset has no fingerprint: of texts that are asked for once, neither features nor states are kept.
    examples = learner.model.problem.encode(split).subset(np.arange(len(split)))
    p = probabilities(learner.extractor, examples, named, visible)
    shown = torch.from_numpy(np.flatnonzero(visible))  # a probability of 0 is no reason to name another task's label
    values, best = p[:, shown].topk(min(top, len(shown)), dim=1)
    rows = shown[best]
    return [
        Prediction(text, tuple(space.names[row] for row in best), tuple(likely))
        for text, best, likely in zip(texts, rows.tolist(), values.tolist(), strict=True)
    ]
