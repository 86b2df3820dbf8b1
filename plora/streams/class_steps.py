"""Images with maps whose classes arrive in steps: which images a step has, and what their maps say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from plora.errors import DataError, did_you_mean
from plora.streams.base import SPLITS, SplitName, Task
from plora.streams.class_order import ArrivingClasses

if TYPE_CHECKING:
    from plora.streams.labelled_images import LabelledImages

Protocol = Literal["overlapped", "disjoint", "partitioned"]
"""Which images a step learns from: `overlapped`, all that show one of its classes; `disjoint`, those of them that show
no class of a later step; `partitioned`, each image in one step."""
BACKGROUND = "background"
"""Name of the class that is added where none stands for what is of no class of a step."""
Present = NDArray[np.bool_]
"""Which classes each image shows, `[N, C]`."""
_AT_ONCE = 64


class ClassSteps(ArrivingClasses):
    """A stream of images with maps whose tasks are steps of classes, where `increment` is set.

    In the maps of a step, what is of the classes of other steps is background. Test maps have all classes: each image
    is tested in one step, one that shows no class in the smallest, and what is of classes that were not learned yet is
    background when it is scored.

    Source: Cermelli et al. 2020 (MiB, arXiv 2002.00718); Douillard et al. 2021 (PLOP, arXiv 2011.11390).
    """

    init_cls: int | None = Field(default=None, ge=1)
    """Classes of the first step beside the background; None: as many as `increment`."""

    increment: int | None = Field(default=None, ge=1)
    """Classes of every other step; None: classes do not arrive in steps."""

    protocol: Protocol = "overlapped"
    """Which images a step learns from: `overlapped`, all that show one of its classes; `disjoint`, those of them that
    show no class of a later step; `partitioned`, each image in one step."""

    background: str | None = Field(default=None, min_length=1)
    """Class that stands for what is of no class of a step; None: `background`, which is added where there is none."""

    @model_validator(mode="after")
    def _steps_where_something_is_said_of_them(self) -> Self:
        usual = type(self).model_fields
        strange = [
            name
            for name in ("init_cls", "class_order", "class_seed", "protocol", "background")
            if getattr(self, name) != usual[name].default
        ]
        if strange and self.increment is None:
            raise ValueError(f"{', '.join(strange)}: of steps of classes; set increment, or leave it out")
        return self

    def steps(
        self, splits: Mapping[SplitName, "LabelledImages"], present: Mapping[SplitName, Present]
    ) -> tuple[tuple[Task, ...], dict[str, str]]:
        """Return a task for each step of classes, and what there is to know of them.

        The classes of all tasks are in the order in which they arrive, the background first.

        Args:
            splits: all images, under one set of classes.
            present: which of these each image shows.

        Raises:
            DataError: there is no such background, classes do not divide into steps, or a step has no images.
        """
        from plora.streams.step_images import StepImages

        names = splits["train"].class_names
        behind = self.background or BACKGROUND
        if self.background is not None and behind not in names:
            raise DataError(f"background: there is no class '{behind}'{did_you_mean(behind, names)}")
        objects = [number for number, name in enumerate(names) if name != behind]
        arriving = [
            (step, [objects[place] for place in places])
            for step, places in self.arriving([names[number] for number in objects], self.increment)
        ]
        order = [number for _, own in arriving for number in own]
        class_names = (behind, *(names[number] for number in order))
        of_steps = [own for _, own in arriving]
        chosen: dict[SplitName, list[NDArray[np.int64]]] = {
            split: images_of_steps(
                present[split],
                of_steps,
                "partitioned" if split == "test" else self.protocol,
                every=split == "test",  # a class that is found where there is none is a mistake of some step
            )
            for split in SPLITS
        }
        tasks = []
        for at, (step, own) in enumerate(arriving):
            found: dict[SplitName, StepImages] = {}
            for split in SPLITS:
                if not present[split][chosen[split][at]][:, own].any():
                    shown = ", ".join(names[number] for number in own)
                    raise DataError(
                        f"step '{step}' ({shown}) has no {split} images (protocol {self.protocol}); give more images, "
                        "another class_order, or larger steps"
                    )
                told = order if split == "test" else own
                meaning = tuple(1 + order.index(number) if number in told else 0 for number in range(len(names)))
                found[split] = StepImages(splits[split], chosen[split][at], meaning, class_names)
            own_names = tuple(names[number] for number in own)
            tasks.append(Task(step, (behind, *own_names) if at == 0 else own_names, **found))
        listed = " | ".join(", ".join(task.label_names) for task in tasks)
        return tuple(tasks), {"class steps": f"{self.protocol}: {listed}", "background": behind}


def images_of_steps(
    present: Present, steps: Sequence[Sequence[int]], protocol: Protocol, every: bool = False
) -> list[NDArray[np.int64]]:
    """Return which images each step has.

    Where each is in one step, it is in that of those whose classes it shows that has the fewest images so far, the
    earliest of them. One that shows no class of any step is in none, or with `every` in the smallest step of all.

    Args:
        present: which classes each image shows, `[N, C]`.
        steps: the classes of each, the background in none.
        protocol: see `Protocol`.
        every: whether what shows no class is in a step all the same, where each is in one.
    """
    shown = np.stack([present[:, list(own)].any(axis=1) for own in steps], axis=1)
    if protocol == "disjoint":
        later: NDArray[np.int64] = np.cumsum(shown[:, ::-1], axis=1)[:, ::-1] - shown
        shown = shown & (later == 0)
    if protocol == "partitioned":
        once, sizes = np.zeros_like(shown), np.zeros(len(steps), np.int64)
        for image, possible in enumerate(shown | ~shown.any(axis=1, keepdims=True) if every else shown):
            if possible.any():
                step = int(np.where(possible, sizes, len(shown)).argmin())
                once[image, step] = True
                sizes[step] += 1
        shown = once
    return [np.flatnonzero(of_step) for of_step in shown.T]


def classes_shown(images: "LabelledImages") -> Present:
    """Return which classes each image shows, `[N, C]`: every map is read once."""
    found = np.zeros((len(images), len(images.class_names)), np.bool_)
    for start in range(0, len(images), _AT_ONCE):
        indices = np.arange(start, min(start + _AT_ONCE, len(images)))
        for index, one in zip(indices.tolist(), images.read(indices), strict=True):
            seen = np.unique(one.classes)
            found[index, seen[seen < found.shape[1]]] = True
    return found
