"""A checkpoint inside a task: optimizer, position in the plan, early stopping; resuming from it changes no bit.

Random numbers need no state: each step draws its own from the seed and its number. There is one such checkpoint, and
it goes when its stage has a checkpoint of its own.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from torch import Tensor

from plora.errors import RunError
from plora.failpoints import reached
from plora.fingerprint import hash_file
from plora.regular import inside
from plora.results.record.identity import open_own
from plora.sealed import Identity, fitted, write_sealed
from plora.tensor_file import load_tensors, save_tensors

_MANIFEST = "manifest.json"
_STATE = re.compile(r"state-(\d{1,9})\.safetensors")
_KIND = "step"
_SHARE = 0.03
"""Most of the training time that may go into these checkpoints."""


class Position(BaseModel):
    """Where training stands inside a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: int = Field(ge=0)
    phase: int = Field(ge=0)
    step: int = Field(ge=1)
    """Optimizer steps done in the phase."""
    micro_batch_size: int = Field(ge=1)
    best: float | None
    """Best validation score of the phase, where there is one."""
    epochs_without: int = Field(ge=0)
    """Epochs since then."""
    meter: dict[str, float]
    curve_lines: int = Field(ge=0)
    """Lines of curves.jsonl that belong to what is done."""
    file: str = Field(pattern=r"^state-\d+\.safetensors$")
    file_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    """sha256 of the file."""


_SHAPE = TypeAdapter(Position)


@dataclass
class StepCheckpoint:
    """The one checkpoint inside a task.

    Args:
        folder: where it is kept.
        seconds: of training between two; 0: after every step; None: never.
        run: whose it is.
    """

    folder: Path
    seconds: float | None
    run: str

    def __post_init__(self) -> None:
        self._last = time.perf_counter()
        self._cost = 0.0

    def due(self) -> bool:
        """Say whether it is time: `seconds` have gone by, and the last one cost at most 3 % of what has."""
        if self.seconds is None:
            return False
        gone = time.perf_counter() - self._last
        return self.seconds == 0 or gone >= max(self.seconds, self._cost / _SHARE)

    def save(self, tensors: Mapping[str, Tensor], **position: int | float | Mapping[str, float] | None) -> None:
        """Replace the checkpoint: tensors first, then the manifest that names them, then the old tensors go.

        Args:
            tensors: by name.
            position: fields of `Position` but `file` and `file_hash`.
        """
        started = time.perf_counter()
        former = self._states()
        number = max(former, default=0) + 1
        path = self.folder / f"state-{number}.safetensors"
        save_tensors(path, tensors)
        at = Position.model_validate({**position, "file": path.name, "file_hash": hash_file(path)})
        write_sealed(inside(self.folder, _MANIFEST), at.model_dump(), Identity(self.run, _KIND, at.stage))
        for old in former.values():
            old.unlink()
        self._last = time.perf_counter()
        self._cost = self._last - started
        reached("step_saved")

    def load(self) -> tuple[Position, dict[str, Tensor]] | None:
        """Return position and tensors; None where there is no such checkpoint.

        Raises:
            RunError: it is damaged; names the file.
        """
        manifest = inside(self.folder, _MANIFEST)
        if not manifest.exists():
            return None
        position = fitted(manifest, open_own(manifest, self.run, _KIND).content, _SHAPE)
        path = inside(self.folder, position.file)
        if not path.exists():
            raise RunError(f"{path} is missing")
        if hash_file(path) != position.file_hash:
            raise RunError(f"{path} was changed after the run wrote it (its sha256 differs from the manifest)")
        return position, load_tensors(path)

    def clear(self) -> None:
        """Remove it, manifest first; what else stands in its folder stays."""
        for path in (self.folder / _MANIFEST, *self._states().values()):
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        self._last = time.perf_counter()

    def _states(self) -> dict[int, Path]:
        """Files of tensors by their number: that of the manifest, and what a kill left of the one before or after."""
        names = (_STATE.fullmatch(path.name) for path in (self.folder.iterdir() if self.folder.is_dir() else ()))
        return {int(name[1]): inside(self.folder, name[0]) for name in names if name is not None}
