"""Experiment trackers, beside our own files: what is logged there can be lost, a run cannot be stopped by it.

`trackers: [tensorboard]` in a config. They are Accelerate's, by name; their settings are those of their own
environment variables (`WANDB_MODE`, `MLFLOW_TRACKING_URI`, …).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from plora.errors import ConfigError
from plora.events.settings import TrackerName
from plora.shown import visible

TRACKERS: tuple[TrackerName, ...] = ("tensorboard", "wandb", "mlflow", "trackio")
Failed = Callable[[str, Exception], None]


def require_installed(names: Sequence[TrackerName]) -> None:
    """Refuse a tracker whose package is not there, before a run begins.

    Raises:
        ConfigError: one line for each.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        raise ConfigError(f"trackers: '{name}' is not installed; pip install {name}" for name in missing)


class Tracking:
    """The trackers of one run.

    Args:
        names: of the trackers.
        run: name of the run.
        folder: for trackers that write files.
        failed: called with the name and the error of a tracker that fails; it is not asked again.
    """

    def __init__(self, names: Sequence[TrackerName], run: str, folder: Path, failed: Failed) -> None:
        self._failed = failed
        self._trackers: dict[str, Any] = {}
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            where = {"logging_dir": folder} if kind.requires_logging_directory else {}
            try:
                self._trackers[name] = kind(run, **where)
            except Exception as error:  # of any library; see the module
                failed(name, error)
        self._each(lambda tracker: tracker.start())

    def configuration(self, values: Mapping[str, object]) -> None:
        """Log the resolved configuration, nested keys as `a.b`."""
        flat = dict(_flat(values))
        self._each(lambda tracker: tracker.store_init_configuration(flat))

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at an optimizer step of the whole run."""
        named = {visible(name): value for name, value in values.items()}  # names of tasks are in them
        self._each(lambda tracker: tracker.log(named, step=step))

    def finish(self, files: Sequence[Path]) -> None:
        """Hand over files, where a tracker takes some, and close."""
        self._each(lambda tracker: _hand_over(tracker, files))
        self._each(lambda tracker: tracker.finish())

    def _each(self, act: Callable[[Any], object]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except Exception as error:  # of any library; see the module
                del self._trackers[name]
                self._failed(name, error)


def _hand_over(tracker: Any, files: Sequence[Path]) -> None:  # noqa: ANN401  (trackers have no common type)
    for file in files:
        if hasattr(tracker, "log_artifact"):  # mlflow
            tracker.log_artifact(str(file))
        elif tracker.name == "wandb":
            tracker.tracker.save(str(file), base_path=str(file.parent), policy="now")


def _flat(values: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield visible(f"{path}{key}"), value if isinstance(value, int | float | bool) else visible(str(value))
