"""Tagged sentences as a file."""

import json
from collections.abc import Iterable
from pathlib import Path

from plora import atomic
from plora.errors import DataError
from plora.runs.tagging import TaggedWords

_ENDING = ".jsonl"


def require_sentence_file(path: Path) -> None:
    """Refuse, before anything is computed, a file that tagged sentences cannot be written to.

    Raises:
        DataError: its ending is another one, or it is a folder.
    """
    if path.suffix.lower() != _ENDING:
        raise DataError(
            f"--out {path}: sentences with tags are written as JSON lines; give a name that ends in {_ENDING}"
        )
    if path.is_dir():
        raise DataError(f"--out {path} is a folder; name a file in it")


def write_tagged(path: Path, found: Iterable[TaggedWords]) -> None:
    """Write a JSON object with `words` and `tags` for each sentence, as the stream `tagged` reads them.

    Args:
        path: it is replaced where it exists.
        found: the sentences.
    """
    rows = ({"words": one.words, "tags": one.tags} for one in found)
    atomic.write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
