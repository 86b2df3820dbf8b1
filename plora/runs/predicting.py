"""Label new inputs with a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from plora.batches.evaluate import scores_of
from plora.errors import DataError, RunError, UnknownTaskError, did_you_mean
from plora.run_folder.folder import RunFolder
from plora.runs.loading import load_learner
from plora.streams.base import Scenario


@dataclass(frozen=True)
class Prediction:
    """What was found of one input.

    Args:
        input: as it was given.
        labels: the likeliest first; of a regression what each number is.
        probabilities: of the labels; of a regression the numbers, in their unit.
        cells: what a table of predictions has of it, by column: `predicted`, and `probability` where there is one.
        told: what the answers are, `labels` or `numbers`.
    """

    input: object
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    cells: Mapping[str, object] = field(default_factory=dict)
    told: str = "labels"


_AT_ONCE = 1024
"""Inputs that are encoded before more are looked at."""


def predict(
    path: Path,
    inputs: Sequence[object],
    task: str | None = None,
    top: int = 3,
    progress: Callable[[int], object] | None = None,
) -> list[Prediction]:
    """Label new inputs with a run's last checkpoint; the data that it was learned from are not needed.

    Args:
        path: the run folder.
        inputs: texts, or pairs of texts for a task learned on pairs; paths or pixels of images; as the run's problem
            has it.
        task: the task that they belong to; needed in the task-incremental scenario, and only there.
        top: classes to return for each input; where an input may have any number of labels, those that it is given.
        progress: called now and then with the number of inputs that were labelled since it was last called.

    Raises:
        UnknownTaskError: the task is missing or unknown, or there is nothing that it could change.
        DataError: there is no input, or one that the problem does not take.
        RunError: the answers of the run's problem are no labels.
    """
    if not inputs:
        raise DataError("nothing to predict: no input was given")
    learner, learned, space = load_learner(path)
    problem = learner.model.problem
    if not problem.has_rows:
        settings = RunFolder(path).read_config().problem
        verb = "generate" if settings.writes else "predict" if settings.dense else "evaluate"
        raise RunError(f"{path} does not label its inputs, it is scored by {problem.score.title}; use `plora {verb}`")
    seen, named = learned.tasks, require_task(task, learned.tasks, space.scenario)
    visible = space.visible(task, seen)
    found: list[Prediction] = []
    for start in range(0, len(inputs), _AT_ONCE):
        some = inputs[start : start + _AT_ONCE]
        # A subset has no fingerprint: of texts that are asked for once, neither features nor states are kept.
        examples = problem.encode(problem.given(some)).subset(np.arange(len(some)))
        answers = problem.told(scores_of(learner.extractor, examples, named), visible, space.names, top)
        found += [
            Prediction(
                one,
                tuple(name for name, _ in told),
                tuple(number for _, number in told),
                problem.cells(told),
                problem.answered,
            )
            for one, told in zip(some, answers, strict=True)
        ]
        if progress is not None:
            progress(len(some))
    return found


def require_task(task: str | None, seen: Sequence[str], scenario: Scenario) -> str | None:
    """Return the task that inputs belong to, where it is known at test time.

    Args:
        task: as it is given.
        seen: the tasks that the run has learned.
        scenario: of the run.

    Raises:
        UnknownTaskError: it is missing or unknown, or there is nothing that it could change.
    """
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
    return task
