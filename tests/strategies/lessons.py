"""Models in the middle of learning, for tests of what strategies do."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plora.gates import AllOnes
from plora.lesson import Lesson
from plora.model import ContinualModel
from plora.problems import Examples
from plora.strategies import Rehearsal, Seen
from plora.testing.tiny import open_filled, tiny_model


def a_model(*tasks: str) -> ContinualModel:
    """A model that learned all tasks but the last, whose slot and rows are open: two rows each, random."""
    model = tiny_model(AllOnes())
    for number, task in enumerate(tasks):
        open_filled(model, task)
        if number < len(tasks) - 1:
            model.commit()
    return model


def among(lesson: Lesson, model: ContinualModel, competing: Tensor) -> Lesson:
    """The lesson with other rows that compete, in its losses too."""
    return replace(
        lesson,
        competing=competing,
        losses=lambda outputs, batch: model.problem.losses(outputs, batch, competing),
    )


def seen(examples: Examples, indices: NDArray[np.int64], scores: Tensor) -> Seen:
    """A batch for which the model's head has these scores."""
    return Seen(examples.collate(indices), {"scores": scores})


def loss_of_each(rehearsal: Rehearsal, scores: Tensor) -> Tensor:
    """The loss of each example that is rehearsed, by itself; the loss of all together is their sum."""

    def loss(positions: slice) -> Tensor:
        (value,) = rehearsal.losses(seen(rehearsal.examples, rehearsal.indices[positions], scores[positions])).values()
        return value

    each = torch.stack([loss(slice(i, i + 1)) for i in range(len(scores))])
    torch.testing.assert_close(each.sum(), loss(slice(None)), rtol=1e-4, atol=1e-4)
    return each
