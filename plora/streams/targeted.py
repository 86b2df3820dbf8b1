"""Splits whose inputs have a target for each name of their task: label sets and numbers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plora.errors import DataError
from plora.streams.base import Split


@dataclass(frozen=True)
class Targeted(Split):
    """Inputs with a row of targets each.

    Args:
        inputs: N inputs, a split of texts or images whose own labels mean nothing.
        targets: `[N, C]` float64, one for each name of the task.

    Raises:
        DataError: there are not as many of one as of the other, or what a kind of targets refuses.
    """

    inputs: Split
    targets: NDArray[np.float64]
    labels = None
    several = True

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or len(self.inputs) != len(self.targets):
            raise DataError(
                f"{len(self.inputs)} inputs have targets of shape {list(self.targets.shape)}; expected "
                f"[{len(self.inputs)}, names of the task]"
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def slow(self) -> bool:  # type: ignore[override]  # follows from the inputs
        """Whether the inputs are slow to read."""
        return self.inputs.slow

    def read(self, indices: NDArray[np.int64]) -> Sequence[object]:
        """Return some inputs."""
        return self.inputs.read(indices)

    def fingerprint(self) -> str:
        """Return the sha256 (hex) of inputs and targets, in their order."""
        digest = hashlib.sha256(f"{self.inputs.fingerprint()};{self.targets.shape};".encode())
        digest.update(np.ascontiguousarray(self.targets, dtype="<f8").tobytes())
        return digest.hexdigest()

    def identities(self) -> Sequence[object] | None:
        """Return those of the inputs."""
        return self.inputs.identities()


class LabelSets(Targeted):
    """Inputs with any number of labels each: a target is 1 where an input has the label, else 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not bool(np.isin(self.targets, (0, 1)).all()):
            raise DataError("an input has a label (1) or not (0); another number was given")


class Numbers(Targeted):
    """Inputs with a number for each name."""

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = np.argwhere(~np.isfinite(self.targets))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(f"input {row + 1}: number {column + 1} is {self.targets[row, column]}; leave the input out")
