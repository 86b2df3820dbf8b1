"""Reading a config: defaults ← YAML or JSON ← key=value.

    config = load_config("topics.yaml", ["training.epochs=3", "seed=1"])

All mistakes are reported together, each with its path.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from plora.config.checks import cross_checks
from plora.config.mistakes import lines, shown, unusable
from plora.config.peers import peer_of
from plora.config.run import RunConfig
from plora.errors import ConfigError
from plora.plain_yaml import parse_yaml
from plora.streams.added import ADDED, AddedTask
from plora.streams.domains import Domain

_Task = TypeVar("_Task", bound=BaseModel)


def load_config(source: str | Path | Mapping[str, object], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config and apply `key.path=value` overrides, whose values are YAML.

    Args:
        source: a YAML or JSON file, or a mapping.
        overrides: such as `training.epochs=3` or `lora.targets=[query, value]`.

    Raises:
        ConfigError: every mistake, one line each, starting with its key.
    """
    values = read_values(Path(source)) if isinstance(source, str | Path) else dict(source)
    if peer := peer_of(values):
        what = f"config {source}" if isinstance(source, str | Path) else "this"
        raise ConfigError([f"{what} is one of {peer[0]}, by its keys; `plora validate FILE > new.yaml` translates it"])
    problems: list[str] = []
    for assignment in overrides:
        try:
            override(values, assignment)
        except ConfigError as error:
            problems += error.problems
    if broken := list(unusable(values)):  # the schema would say the same of them again, in its own words
        raise ConfigError([*problems, *broken])
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError([*problems, *lines(error.errors(), values)]) from None
    problems += cross_checks(config)
    if problems:
        raise ConfigError(problems)
    return config


def load_task(train: Path, keys: Sequence[str], form: str = "tables") -> AddedTask:
    """Read a task of local files from `key=value` arguments.

    Args:
        train: file or folder with its training examples; its stem is the task's name unless `name=` is given.
        keys: such as `text=review` or `test=test.csv`; values are YAML.
        form: what the task is made of, a key of `ADDED`: `tables` with a class, `label_sets`, `numbers`, `tagged`.

    Raises:
        ConfigError: every mistake, one line each, starting with its key.
    """
    return _from_keys(ADDED[form], {"name": train.stem, "train": str(train)}, keys)


def load_domain(source: Path, keys: Sequence[str]) -> Domain:
    """Read a domain of documents from `key=value` arguments.

    Args:
        source: file or folder with its documents, whose stem is its name unless `name=` is given; with `docstrings=` or
            `hub=` among the keys its name alone.
        keys: such as `text=body` or `docstrings=numpy`; values are YAML.

    Raises:
        ConfigError: every mistake, one line each, starting with its key.
    """
    elsewhere = any(key.split("=")[0].split(".")[0] in ("docstrings", "hub") for key in keys)
    values: dict[str, object] = {"name": source.stem}
    if not elsewhere:
        values["path"] = str(source)
    return _from_keys(Domain, values, keys)


def _from_keys(kind: type[_Task], values: dict[str, object], keys: Sequence[str]) -> _Task:
    for key in keys:
        override(values, key)
    if problems := list(unusable(values)):
        raise ConfigError(problems)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(lines(error.errors(), values, kind)) from None


def read_values(path: Path) -> dict[str, object]:
    """Read the keys of a YAML or JSON file.

    Raises:
        ConfigError: there is no such file, or it is no mapping.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))  # JSON is YAML
    except FileNotFoundError:
        raise ConfigError(
            [f"config {path} does not exist; `plora ls` lists the shipped ones, `plora cp` copies one"]
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"config {path} is not YAML: {error}"]) from None
    except (OSError, ValueError) as error:  # not UTF-8, or not even a path
        raise ConfigError([f"config {path} cannot be read: {error}"]) from None
    if not isinstance(values, dict):
        raise ConfigError([f"config {path} must be a mapping of keys, got {type(values).__name__}"])
    return values


def override(values: dict[str, object], assignment: str) -> None:
    """Put `a.b=value`, its value YAML, into nested mappings, in place.

    Raises:
        ConfigError: it is no assignment, its value is not YAML, or it goes through a key that has no keys of its own.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not re.fullmatch(r"\w+(\.\w+)*", path):
        raise ConfigError([f"'{assignment}': expected key=value, such as training.epochs=3"])
    if problems := list(unusable(text, path)):
        raise ConfigError(problems)
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        raise ConfigError([f"{path}: the value {shown(text)} is not YAML; quote it"]) from None
    put(values, path, value)


def put(values: dict[str, object], path: str, value: object) -> None:
    """Set `a.b` in nested mappings and lists, `a.0.b`, in place; inner ones are copied, never changed.

    Raises:
        ConfigError: the path goes through a key that has no keys of its own, or to an item that a list does not have.
    """
    *parents, last = path.split(".")
    place: dict[str, object] | list[object] = values
    for at, parent in enumerate(parents):
        inner = _inner(place, parent, path) if isinstance(place, list) else place.get(parent, {})
        if not isinstance(inner, dict | list):
            raise ConfigError([f"{path}: '{'.'.join(parents[: at + 1])}' is {shown(inner)}, it has no keys of its own"])
        copied = dict(inner) if isinstance(inner, dict) else list(inner)
        _set(place, parent, copied)
        place = copied
    if isinstance(place, list):
        _inner(place, last, path)  # refuses what is not there
    _set(place, last, value)


def _inner(items: list[object], index: str, path: str) -> object:
    if not index.isascii() or not index.isdecimal() or int(index) >= len(items):
        held = f"0 to {len(items) - 1}" if items else "none, for it is empty"
        raise ConfigError([f"{path}: '{index}' is no item of a list; its items are {held}"])
    return items[int(index)]


def _set(place: dict[str, object] | list[object], key: str, value: object) -> None:
    if isinstance(place, list):
        place[int(key)] = value
    else:
        place[key] = value
