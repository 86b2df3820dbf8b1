"""The configs that are shipped: `<problem>/<method>.yaml`, each with a header that says what it is and needs."""

from collections.abc import Mapping
from pathlib import Path

from plora.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent
_SWEEPS = "sweeps/"


def shipped_configs() -> dict[str, Path]:
    """Return every shipped config by its name, such as `quickstart/topics-o_lora`."""
    return {name: path for name, path in _shipped().items() if not name.startswith(_SWEEPS)}


def shipped_sweeps() -> dict[str, Path]:
    """Return every shipped sweep by its name, such as `sweeps/ablation`."""
    return {name: path for name, path in _shipped().items() if name.startswith(_SWEEPS)}


def find_sweep(name: str) -> Path:
    """Return the file of a sweep: a path of the user's, else a shipped one by name.

    Raises:
        ConfigError: there is neither.
    """
    return _find(name, shipped_sweeps(), "sweep")


def _shipped() -> dict[str, Path]:
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in sorted(FOLDER.rglob("*.yaml"))}


def find_config(name: str) -> Path:
    """Return the file of a config: a path of the user's, else a shipped one by name.

    Raises:
        ConfigError: there is neither.
    """
    return _find(name, shipped_configs(), "config")


def _find(name: str, shipped: Mapping[str, Path], what: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    if name.removesuffix(".yaml") in shipped:
        return shipped[name.removesuffix(".yaml")]
    raise ConfigError(
        [f"{what} '{name}' is neither a file nor a shipped {what}{did_you_mean(name, shipped)} (see `plora ls`)"]
    )


def header(path: Path) -> list[str]:
    """Return the comment lines at the top of a config, without their marks; the first says what it is."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return lines
