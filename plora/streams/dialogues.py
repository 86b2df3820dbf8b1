"""Prompts and answers: documents of which a part is only read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from plora.errors import DataError, did_you_mean

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)
ANSWERS: Role = "assistant"
"""Whose messages are learned; those of the others are read."""

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Dialogue:
    """Messages in their order, of which the answers are learned.

    Args:
        messages: role and text of each.

    Raises:
        DataError: there is no message, a role is unknown, or an answer is empty.
    """

    messages: tuple[tuple[Role, str], ...]

    def __post_init__(self) -> None:
        if not self.messages:
            raise DataError("a conversation has no messages; leave it out")
        for role, text in self.messages:
            if role not in ROLES:
                raise DataError(f"the role '{role}' is none of {', '.join(ROLES)}{did_you_mean(str(role), ROLES)}")
            if role == ANSWERS and not text.strip():
                raise DataError("an answer is empty, so nothing could be learned; write one, or leave it out")

    @classmethod
    def asked(cls, prompt: str, answer: str) -> "Dialogue":
        """Return one prompt and its answer."""
        return cls((("user", prompt), (ANSWERS, answer)))

    @property
    def answered(self) -> bool:
        """Whether there is an answer to learn."""
        return any(role == ANSWERS for role, _ in self.messages)

    @property
    def content(self) -> str:
        """All of its texts, with a sign between them that stands in no text."""
        return "\x1f".join(text for _, text in self.messages)


def fields(pattern: str) -> tuple[str, ...]:
    """Return the names that stand in braces, each once."""
    return tuple(dict.fromkeys(_FIELD.findall(pattern)))


def filled(pattern: str, values: Mapping[str, str]) -> str:
    """Return a text with a value in place of each name in braces."""
    return _FIELD.sub(lambda found: values[found[1]], pattern)
