"""Mistakes of a config as lines: key, what was got, what was expected."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from plora.config.run import RunConfig, said
from plora.errors import did_you_mean
from plora.gates.settings import GATES
from plora.generators.settings import GENERATORS
from plora.kinds import is_own
from plora.optimizers.settings import OPTIMIZERS
from plora.problems.settings import PROBLEMS
from plora.settings import named
from plora.strategies.settings import STRATEGIES
from plora.streams import LABELLED, STREAMS

_BY_KIND: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "stream": STREAMS,
    "of": LABELLED,
    "strategies": STRATEGIES,
    "optimizer": OPTIMIZERS,
    "gate": GATES,
    "problem": PROBLEMS,
    "generator": GENERATORS,
}
"""Keys whose value is one of several kinds."""


def lines(
    errors: Sequence[ErrorDetails], values: Mapping[str, object], schema: type[BaseModel] | None = None
) -> list[str]:
    """Each mistake as one line; what only follows from another one is left out."""
    wrong = [error for error in errors if not _follows(error, errors)]
    places = [_place(error, values) for error in wrong]
    found: dict[str, str] = {}
    for error, (place, is_type) in zip(wrong, places, strict=True):
        if not is_type:
            text = line(error, values, schema)
            found[text] = text
        elif not any(len(other) > len(place) and other[: len(place)] == place for other, _ in places):
            # A value that may be of several types is said once, with all of them.
            key = ".".join(map(str, place))
            expected = said(error).removeprefix("Input should be ")
            start = f"{key}: got {shown(error['input'])}; expected"
            found[key] = f"{found[key]}, or {expected}" if key in found else f"{start} {expected}"
    return list(found.values())


def _place(error: ErrorDetails, values: Mapping[str, object]) -> tuple[tuple[str | int, ...], bool]:
    """Where a mistake is, and whether pydantic says there which of several types it means."""
    location = tuple(_as_written(error["loc"], values))
    inside: object = values
    for part in location[:-1]:
        inside = inside[part] if isinstance(inside, Mapping | list) else None  # type: ignore[index]
    last = location[-1:]
    if not last or (isinstance(inside, Mapping) and (error["type"] == "missing" or last[0] in inside)):
        return location, False
    if isinstance(inside, list) and isinstance(last[0], int):
        return location, False
    return location[:-1], True


def _follows(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """A list that is too short because what stands in it is wrong has the items that it needs."""
    place = error["loc"]
    return error["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in errors
    )


def line(error: ErrorDetails, values: Mapping[str, object], schema: type[BaseModel] | None = None) -> str:
    """One mistake as one line: key, what was got, what was expected."""
    location = _as_written(error["loc"], values)
    path = ".".join(str(part) for part in location) or "config"
    if error["type"] == "extra_forbidden":
        known = _keys_beside(location, values, schema or RunConfig)
        return f"{path}: unknown key{did_you_mean(str(location[-1]), known)} (keys here: {', '.join(known)})"
    if error["type"] == "missing":
        return f"{path}: missing, and it has no default"
    if error["type"] == "kind":
        return f"{path}: {error['msg']}"
    message = said(error)
    return f"{path}: got {shown(error['input'])}; {message[0].lower()}{message[1:]}"


def unusable(value: object, path: str = "") -> Iterator[str]:
    """Values that no key can take, whatever its type: they would break in a library, hours later."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            place = f"{path}.{key if isinstance(key, str) else shown(key)}".lstrip(".")
            if isinstance(key, str):
                yield from _broken(key, place)
            yield from unusable(inner, place)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from unusable(inner, f"{path}.{position}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield f"{path}: got an integer of {value.bit_length()} bits; at most 63 are possible"
    elif isinstance(value, str | PurePath):
        yield from _broken(str(value), path)


def _broken(text: str, path: str) -> Iterator[str]:
    """Why a key or a value that is a text, a name or a path cannot be written into a file, or name one."""
    if "\0" in text:
        yield f"{path}: got {shown(text)}; no name, path or text of a config has a NUL character"
    if re.search(r"[\ud800-\udfff]", text):
        yield f"{path}: got {shown(text)}; it has half of a character (a lone surrogate), so write it as UTF-8"


def shown(value: object) -> str:
    """A value as it is quoted in a mistake."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return f"a very long {type(value).__name__}"
    return text if len(text) < 80 else text[:77] + "…"


def _as_written(location: Sequence[str | int], values: Mapping[str, object]) -> list[str | int]:
    """The place of a mistake without the kinds that pydantic puts behind a key whose value may be of several."""
    found: list[str | int] = []
    place: object = values
    for part in location[:-1]:
        if isinstance(place, Mapping | list):
            if part not in (place if isinstance(place, Mapping) else range(len(place))):
                continue
            place = place[part]  # type: ignore[index]
        found.append(part)
    return [*found, *location[-1:]]


def _keys_beside(location: Sequence[str | int], values: Mapping[str, object], schema: type[BaseModel]) -> list[str]:
    """Names of the fields of the model that the last part of `location` was looked up in."""
    models: list[type[BaseModel]] = [schema]
    place: object = values
    key = ""
    for part in location[:-1]:
        place = place[part] if isinstance(place, Mapping | list) else None  # type: ignore[index]
        kind = str(place.get("kind")) if isinstance(place, Mapping) else None
        key = str(part) if isinstance(part, str) else key
        inner = [model for outer in models for model in _models_in(outer, part)]
        if kind is not None and key in _BY_KIND and is_own(kind):
            models = [named(kind, BaseModel)]
            continue
        chosen = [
            model for model in inner if "kind" in model.model_fields and model.model_fields["kind"].default == kind
        ]
        models = chosen or inner or models
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _models_in(model: type[BaseModel], part: str | int) -> list[type[BaseModel]]:
    field = model.model_fields.get(str(part))
    if field is None:
        return []
    if part in _BY_KIND:
        return list(_BY_KIND[str(part)].values())
    found: list[type[BaseModel]] = []
    waiting = [field.annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        waiting += get_args(annotation)
    return found
