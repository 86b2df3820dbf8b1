"""One run, one identity: the files of a folder are of the same run, which its config names."""

import hashlib
import re
from pathlib import Path

from plora.errors import RunError
from plora.regular import inside, read_file
from plora.sealed import Sealed, open_sealed

CONFIG_FILE, ENVIRONMENT_FILE = "config.yaml", "environment.json"
SEAL = "# sha256 of the lines above: "
_RUN = re.compile(rb"^# run: ([0-9a-f]{64})\n\Z", re.MULTILINE)


def config_seal(config: Path) -> tuple[str, str]:
    """Return the identity of the run and the sha256 that stand under a config; the identity is empty in older runs.

    Raises:
        RunError: the config was changed since the run began, or cannot be read.
    """
    try:
        text, mark, seal = read_file(config).rpartition(SEAL.encode())
    except OSError as error:
        raise RunError(f"{config} cannot be read: {error.strerror}") from None
    found = hashlib.sha256(text).hexdigest()
    if not mark or seal.decode("utf-8", "replace").strip() != found:
        raise RunError(
            f"{config} was changed after the run was started, so it no longer says what was learned; "
            "restore it, and start a new run for other settings (plora run CONFIG key=value name=…)"
        )
    run = _RUN.search(text)
    return ("" if run is None else run[1].decode()), found


def run_of(folder: Path) -> str | None:
    """Return the identity of the run in a folder, as its config says; None where it says none.

    Raises:
        RunError: its config was changed.
    """
    config = inside(folder, CONFIG_FILE)
    if not config.exists() or SEAL.encode() not in read_file(config):
        return None
    return config_seal(config)[0] or None


def require_of(path: Path, sealed: Sealed, run: str | None, kind: str, number: int | None = None) -> None:
    """Refuse a sealed file of another run, of another kind, or of another moment.

    Args:
        path: of the file.
        sealed: what it holds.
        run: whose it should be; None where that is not known, as in a run of an older version.
        kind: what it should be.
        number: of tasks that were learned then, where that is known.

    Raises:
        RunError: says what it is, and what should be there.
    """
    if sealed.of is not None:
        sealed.of.require(path, sealed.of.run if run is None else run, kind, number)
    elif run:
        raise RunError(f"{path} does not say which run it belongs to, as all files of this run do; restore it")


def open_own(path: Path, run: str | None, kind: str, number: int | None = None) -> Sealed:
    """Read a sealed file that has to be a run's own; see `require_of`."""
    sealed = open_sealed(path)
    require_of(path, sealed, run, kind, number)
    return sealed
