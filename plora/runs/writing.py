"""Who writes to a run folder, and what an error of the file system says."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from plora.errors import RunError
from plora.processes import Processes
from plora.run_folder.folder import RunFolder
from plora.run_folder.forgetting import finish_forgetting
from plora.run_folder.upgrade import upgrade


@contextmanager
def writing(folder: RunFolder) -> Iterator[None]:
    """Turn an error of the file system into one line that names the path."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or folder.path} cannot be written: {error.strerror or error}. Nothing that was committed "
            f"is lost; make room or give permission, then `plora resume {folder.path}`"
        ) from error


@contextmanager
def own(folder: RunFolder, processes: Processes | None = None) -> Iterator[None]:
    """Let the main process lock the folder for all of them, bring it up to date, and finish what was cut."""
    of_all = processes or Processes()
    with ExitStack() as held, writing(folder):
        of_all.lead(lambda: _enter(held, folder))
        yield


def _enter(held: ExitStack, folder: RunFolder) -> None:
    held.enter_context(folder.lock())
    if folder.config.exists():
        upgrade(folder)
        finish_forgetting(folder)
