"""Dialogues of tables: a prompt and an answer in columns, or a column with lists of messages."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from plora.errors import DataError
from plora.streams.columns import TableTask
from plora.streams.dialogues import ANSWERS, ROLES, Dialogue, Role, fields, filled
from plora.streams.readers import read_source, read_values
from plora.streams.source import Source, column_of
from plora.streams.table import texts_at

_NO_ANSWER = "without an answer"
_FORM = '[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'

Found = tuple[list[Dialogue], Counter[str]]
"""Dialogues, and how many rows were left out, by reason."""


def read_asked(path: Path, prompt: str, answer: str) -> Found:
    """Return the prompts and answers of a JSON lines, CSV, TSV or parquet file.

    Args:
        path: the file.
        prompt, answer: a column each, or a text with columns in braces.

    Raises:
        DataError: it cannot be read, or lacks a column or a text; says where.
    """
    columns = dict.fromkeys((*_columns(prompt), *_columns(answer)))
    return table_asked(read_source(path, [*columns]), prompt, answer)


def table_asked(source: Source, prompt: str, answer: str) -> Found:
    """Return the prompts and answers of a table; rows whose answer is empty are left out, and counted.

    Raises:
        DataError: there is no such column, it holds no texts, or one is missing.
    """
    rows = np.arange(source.table.num_rows)
    columns = dict.fromkeys((*_columns(prompt), *_columns(answer)))
    texts = {name: [str(text) for text in texts_at(source, TableTask(text=name), rows)] for name in columns}
    found, left_out = [], Counter(source.left_out)
    for row in rows.tolist():
        values = {name: own[row] for name, own in texts.items()}
        asked, said = (filled(one, values) if fields(one) else values[one] for one in (prompt, answer))
        if said.strip() and all(values[name].strip() for name in _columns(answer)):
            found.append(Dialogue.asked(asked, said))
        else:
            left_out[_NO_ANSWER] += 1
    return found, left_out


def read_conversations(path: Path, column: str) -> Found:
    """Return the conversations of a JSON lines or parquet file.

    Raises:
        DataError: it cannot be read, or a conversation is no list of messages; says where.
    """
    return _conversations(read_values(path, column), f"'{path}'", column)


def table_conversations(source: Source, column: str) -> Found:
    """Return the conversations of a table; those without an answer, or with an empty one, are left out, and counted.

    Raises:
        DataError: there is no such column, or a conversation is no list of messages.
    """
    found, left_out = _conversations(column_of(source, column).to_pylist(), source.where, column)
    return found, left_out + Counter(source.left_out)


def _columns(pattern: str) -> tuple[str, ...]:
    return fields(pattern) or (pattern,)


def _conversations(values: Sequence[object], where: str, column: str) -> Found:
    found, left_out = [], Counter[str]()
    for number, value in enumerate(values, start=1):
        messages = _messages(value, f"{where}, row {number}: '{column}'")
        answers = [text for role, text in messages if role == ANSWERS]
        if answers and all(text.strip() for text in answers):
            found.append(Dialogue(messages))
        else:
            left_out[_NO_ANSWER] += 1
    return found, left_out


def _messages(value: object, where: str) -> tuple[tuple[Role, str], ...]:
    if not isinstance(value, list) or not value:
        got = "an empty list" if value == [] else type(value).__name__
        raise DataError(f"{where} holds {got}; expected messages: {_FORM}")
    found: list[tuple[Role, str]] = []
    for place, message in enumerate(value, start=1):
        role, text = (message.get(key) if isinstance(message, dict) else None for key in ("role", "content"))
        if not isinstance(role, str) or not isinstance(text, str):
            said = sorted(message) if isinstance(message, dict) else type(message).__name__
            raise DataError(f"{where}: message {place} has no text as role and content, got {said}; expected {_FORM}")
        known = next((one for one in ROLES if one == role), None)
        if known is None:
            raise DataError(f"{where}: message {place} has the role '{role}'; expected one of {', '.join(ROLES)}")
        found.append((known, text))
    return tuple(found)
