"""Which tasks were taken out of a run: the one file whose writing decides that they are.

From then on nothing reads them. What is left of them on disk, files and their names in manifests, goes in the steps
that follow, of which each can be the last that a process makes; the next verb that writes makes the rest.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from plora.regular import inside
from plora.results.record.found_runs import FORGOTTEN_FILE
from plora.results.record.identity import open_own, run_of
from plora.sealed import Identity, fitted, write_sealed

KIND = "forgotten"
_OWN = re.compile(
    r"slots/[0-9a-f]{64}/\w[\w.-]*|(heads|gates|strategies)/[0-9a-f]{64}\.safetensors"
    r"|checkpoints/task-\d{2,9}/backbone\.safetensors",
    re.ASCII,
)


def _own_file(name: str) -> str:
    if not _OWN.fullmatch(name):
        raise ValueError(f"'{name[:200]}' is no file that a run keeps, or outside of the run folder")
    return name


FileName = Annotated[str, AfterValidator(_own_file)]
"""Path in a run folder of a file that holds what was learned."""


class Forgotten(BaseModel):
    """`forgotten.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: tuple[str, ...] = ()
    """Tasks that were taken out, in the order in which they were."""
    parts: dict[str, str] = {}
    """The part of the head that each of them had."""
    files: tuple[FileName, ...] = ()
    """Files of theirs that are still to be deleted, by their path in the run folder."""
    seals: dict[int, tuple[str, str]] = {}
    """For each manifest that is being written anew its number, and its seals before and after."""

    def rewrites(self, number: int, seal: str, named: str | None) -> bool:
        """Say whether two seals are both of one manifest, which is being written anew."""
        return number in self.seals and {seal, named} <= set(self.seals[number])

    @property
    def pending(self) -> bool:
        """Whether something of these tasks may still be on disk."""
        return bool(self.files or self.seals)


_SHAPE = TypeAdapter(Forgotten)


def read_forgotten(folder: Path) -> Forgotten:
    """Return which tasks were taken out of a run.

    Raises:
        RunError: the file is damaged, or another run's.
    """
    path = inside(folder, FORGOTTEN_FILE)
    if not path.exists():
        return Forgotten()
    return fitted(path, open_own(path, run_of(folder), KIND).content, _SHAPE)


def write_forgotten(folder: Path, gone: Forgotten, run: str) -> None:
    """Write which tasks were taken out.

    Args:
        folder: of the run.
        gone: the tasks.
        run: what the files of the run call it.
    """
    path = inside(folder, FORGOTTEN_FILE)
    write_sealed(path, gone.model_dump(mode="json"), Identity(run, KIND, len(gone.tasks)))
