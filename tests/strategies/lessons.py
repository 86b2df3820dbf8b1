"""Models in the middle of learning, for tests of what strategies do."""

from plora.gates import AllOnes
from plora.model import ContinualModel
from plora.testing.tiny import open_filled, tiny_model


def a_model(*tasks: str) -> ContinualModel:
    """A model that learned all tasks but the last, whose slot and rows are open: two rows each, random."""
    model = tiny_model(AllOnes())
    for number, task in enumerate(tasks):
        open_filled(model, task)
        if number < len(tasks) - 1:
            model.commit()
    return model
