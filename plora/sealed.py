"""JSON files that carry the hash of their own content, so that an edited or damaged one is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from plora.atomic import JsonValue, write_json
from plora.errors import RunError

_KEY = "sha256"


def write_sealed(path: Path, content: Mapping[str, JsonValue]) -> None:
    """Write a mapping as JSON, atomically, with the sha256 of its content under `sha256`.

    Raises:
        ValueError: a number is NaN or infinite, or the content has a `sha256` of its own.
    """
    if _KEY in content:
        raise ValueError(f"{path}: the content has a '{_KEY}' of its own, where its seal goes")
    write_json(path, {**content, _KEY: _digest(content)})


def read_sealed(path: Path) -> dict[str, object]:
    """Read a file that `write_sealed` wrote; the hash is checked and left out.

    Raises:
        RunError: the file is missing, is not JSON, or its content is not what was written; names the file.
    """
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: expected a JSON object, got {type(content).__name__}")
    seal = content.pop(_KEY, None)
    if seal != _digest(content):
        raise RunError(
            f"{path} was changed after plora wrote it (its content does not have the sha256 that it carries); "
            "restore it from a copy"
        )
    return content


def _digest(content: Mapping[str, JsonValue]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; what was not measured is null")
