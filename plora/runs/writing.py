"""Who writes to a run folder, and what an error of the file system says."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from plora.errors import RunError
from plora.processes import Processes
from plora.run_folder.folder import RunFolder


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
def alone(folder: RunFolder, processes: Processes) -> Iterator[None]:
    """Let the main process lock the folder for all of them."""
    with ExitStack() as held:
        processes.lead(lambda: held.enter_context(folder.lock()))
        yield
