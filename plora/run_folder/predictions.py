"""Predictions of a run: whose a file is, and whether its examples are those of the data."""

from pathlib import Path

import numpy as np

from plora.errors import RunError
from plora.problems import Examples
from plora.results import Measurements
from plora.results.record.columns import read_seal
from plora.run_folder.folder import RunFolder
from plora.sealed import Identity

_KIND = "predictions"


def whose(folder: RunFolder, number: int) -> Identity:
    """Return what the predictions after `number` tasks say they are."""
    return Identity(folder.run, _KIND, number)


def require_own(folder: RunFolder, number: int) -> str:
    """Refuse predictions of another run or number, and return their sha256; empty in a run of an older version.

    Raises:
        RunError: says what they are, and what should be there.
    """
    path = folder.predictions(number)
    of, seal = read_seal(path)
    if of is not None:
        of.require(path, folder.run or of.run, _KIND, number)
    elif folder.run:
        raise RunError(
            f"{path} does not say which run it belongs to, so it was written anew since; restore it from a copy, or "
            f"remove it, and `plora resume {folder.path}` measures it again"
        )
    if folder.run and not seal:
        raise RunError(
            f"{path} has lost the sha256 that it carried, so it was written anew since; restore it from a copy, or "
            f"remove it, and `plora resume {folder.path}` measures it again"
        )
    return seal


def require_answers(path: Path, kept: Measurements, examples: Examples, task: str) -> None:
    """Refuse a record of a task whose examples are not those of its split.

    Args:
        path: of the file, for the message.
        kept: the record of the task.
        examples: of the split that was scored.
        task: its name.

    Raises:
        RunError: examples are missing, more, or in another order, or their answers are others.
    """
    said, true = kept.answers(), examples.answers()
    same = np.array_equal(kept.example, np.arange(len(examples)))
    if not same or (said is not None and true is not None and not np.array_equal(said, true)):
        raise RunError(
            f"{path}: the examples of task '{task}' are not those of its data ({len(kept)} recorded, {len(examples)} "
            "there; their numbers or labels differ); restore the file from a copy of the run"
        )
