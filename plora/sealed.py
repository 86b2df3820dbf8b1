"""JSON files that carry the hash of their own content, so that an edited or damaged one is noticed, and say whose they
are, so that one of another run, of another kind or of an earlier moment does not pass for the one that belongs here.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from plora.atomic import JsonValue, write_json
from plora.errors import RunError
from plora.regular import read_file

_SEAL, _OF = "sha256", "of"
_LONGEST = 30
"""Most digits of an integer: a longer one becomes infinite where a float is expected."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Identity:
    """Whose a file is.

    Args:
        run: sha256 of what decides the run: its config.
        kind: what the file is of the run.
        number: the tasks that the run had learned.
    """

    run: str
    kind: str
    number: int

    def require(self, path: Path, run: str, kind: str, number: int | None = None) -> None:
        """Refuse a file that belongs elsewhere.

        Raises:
            RunError: says what it is, and what should be there.
        """
        wanted = Identity(run, kind, self.number if number is None else number)
        if self != wanted:
            raise RunError(
                f"{path} does not belong here: it is {self}, and here belongs {wanted}; restore it from a copy of this "
                "run"
            )

    def __str__(self) -> str:
        return f"'{self.kind}' number {self.number} of run {self.run[:12]}"


@dataclass(frozen=True)
class Sealed:
    """What a sealed file holds.

    Args:
        content: without seal and identity.
        of: whose it is; None where an older version of plora, or no run, wrote it.
        sha256: its seal.
    """

    content: dict[str, object]
    of: Identity | None
    sha256: str


def write_sealed(path: Path, content: Mapping[str, JsonValue], of: Identity | None = None) -> str:
    """Write a mapping as JSON, atomically, with whose it is under `of` and the sha256 of all that under `sha256`.

    Returns:
        The sha256.

    Raises:
        ValueError: a number is NaN or infinite, or the content has a key of these names.
    """
    if taken := {_SEAL, _OF} & content.keys():
        raise ValueError(f"{path}: the content has a '{taken.pop()}' of its own, where its seal goes")
    found = seal(content, of)
    write_json(path, {**_whole(content, of), _SEAL: found})
    return found


def seal(content: Mapping[str, JsonValue], of: Identity | None = None) -> str:
    """Return the sha256 that content has, or would have, in a sealed file."""
    return _digest(_whole(content, of))


def _whole(content: Mapping[str, JsonValue], of: Identity | None) -> Mapping[str, JsonValue]:
    return content if of is None else {**content, _OF: asdict(of)}


def read_sealed(path: Path) -> dict[str, object]:
    """Return the content of a file that `write_sealed` wrote; see `open_sealed`."""
    return open_sealed(path).content


def open_sealed(path: Path) -> Sealed:
    """Read a file that `write_sealed` wrote, and check its hash.

    Raises:
        RunError: the file is missing, is no plain file or not JSON, or its content is not what was written; names the
            file.
    """
    try:
        content = json.loads(read_file(path), parse_constant=_refuse_constant, parse_int=_integer)
        if not isinstance(content, dict):
            raise ValueError(f"expected a JSON object, got {type(content).__name__}")
        found = content.pop(_SEAL, None)
        now = _digest(content)  # refuses 1e999, which is read as infinite
    except FileNotFoundError:
        raise RunError(f"{path} is missing") from None
    except RunError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None
    if found != now:
        raise RunError(
            f"{path} was changed after plora wrote it (its content does not have the sha256 that it carries); "
            "restore it from a copy"
        )
    return Sealed(content, _identity(path, content.pop(_OF, None)), found)


def fitted(path: Path, content: object, shape: TypeAdapter[_T]) -> _T:
    """Return the content of a JSON file as what it should be; a seal says that it was not changed, not that it fits.

    Args:
        path: of the file, for the message.
        content: of the file.
        shape: what it should be.

    Raises:
        RunError: it is something else; names the key.
    """
    try:
        # Strict JSON mode (an array may be a tuple, a string is never a number) needs text, not Python lists.
        return shape.validate_json(json.dumps(content))
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        key = ".".join(str(part) for part in mistakes[0]["loc"])
        text = mistakes[0]["msg"].removeprefix("Value error, ")
        more = f" (and {len(mistakes) - 1} more mistakes)" if len(mistakes) > 1 else ""
        raise RunError(f"{path} is damaged: {key}{': ' if key else ''}{text}{more}") from None


def _identity(path: Path, found: object) -> Identity | None:
    if found is None:
        return None
    if isinstance(found, dict) and found.keys() == {"run", "kind", "number"}:
        run, kind, number = found["run"], found["kind"], found["number"]
        if isinstance(run, str) and isinstance(kind, str) and type(number) is int:
            return Identity(run, kind, number)
    raise RunError(f"{path} is damaged: of: expected run, kind and number")


def _digest(content: Mapping[str, JsonValue]) -> str:
    """Return the sha256 (hex) of a mapping as JSON in the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _integer(text: str) -> int:
    if len(text) > _LONGEST:
        raise ValueError(f"a number of {len(text)} digits, which nothing in a run can be")
    return int(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; what was not measured is null")
