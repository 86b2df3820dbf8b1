"""Labels as they are written: one form for what differs only in what nobody sees, and a word about what looks alike."""

import re
import unicodedata
from collections.abc import Iterable

_UNSEEN = "\ufeff\u200b\u2060"
"""Without width, and no blank for Python: byte order mark, zero width space, word joiner."""
_AROUND = re.compile(rf"^[\s{_UNSEEN}]+|[\s{_UNSEEN}]+$")
_SHOWN = 5


def clean_label(written: str) -> str:
    """Return a label in composed letters (NFC), without blanks, no-break spaces or marks around it."""
    return _AROUND.sub("", unicodedata.normalize("NFC", written))


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Return the labels that differ from each other in case, blanks or normal form (NFKC) alone, group by group."""
    groups: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        groups.setdefault(_key(label), []).append(label)
    return [group for group in groups.values() if len(group) > 1]


def alike_note(labels: Iterable[str]) -> dict[str, str]:
    """Return the note of a stream about classes that look alike; empty where there are none."""
    groups = alike(labels)
    if not groups:
        return {}
    shown = "; ".join(" and ".join(f"'{label}'" for label in group) for group in groups[:_SHOWN])
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return {"classes that differ in case, blanks or normal form alone": shown + more}


def looks_like(label: str, known: Iterable[str]) -> str:
    """Return `"; it differs from 'x' in case, blanks or normal form alone"` for a known label, or `""`."""
    key = _key(label)
    close = next((other for other in known if other != label and _key(other) == key), None)
    return f"; it differs from '{close}' in case, blanks or normal form alone" if close is not None else ""


def _key(label: str) -> str:
    plain = unicodedata.normalize("NFKC", label).casefold()
    return " ".join("".join(letter for letter in plain if letter not in _UNSEEN).split())
