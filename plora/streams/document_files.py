"""Documents of files: each a file of text or a row of a table, or their paragraphs."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from plora.errors import DataError, did_you_mean
from plora.streams.class_folders import files_below, has_ending
from plora.streams.columns import TableTask
from plora.streams.lines import whole_text
from plora.streams.readers import READERS, read_source
from plora.streams.source import Source
from plora.streams.table import texts_at

TEXT_ENDINGS = (".txt", ".md")
"""Endings of files that are documents; in capitals too."""

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_EMPTY = "empty"


def read_documents(path: Path, column: str) -> tuple[list[str], Counter[str]]:
    """Return the documents of a file or folder, and how many of its files or rows were left out.

    Args:
        path: a file of text; a folder, in and below which all `.txt` and `.md` files are read; or a table: JSON lines,
            CSV, TSV or parquet.
        column: of a table, the one with the texts.

    Raises:
        DataError: nothing is there, or a file is empty, binary, not UTF-8, or of an unknown kind; says where.
    """
    left_out: Counter[str] = Counter()
    if path.is_dir():
        files = []
        for file in files_below(path, path, left_out):
            if any(has_ending(file, ending) for ending in TEXT_ENDINGS):
                files.append(file)
            else:
                left_out["files that end neither in .txt nor in .md"] += 1
        if not files:
            raise DataError(f"folder '{path}' has no file that ends in {' or '.join(TEXT_ENDINGS)}")
        return [_document(file) for file in files], left_out
    if not path.exists():
        nearby = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file or folder '{path}'{did_you_mean(path.name, nearby)}; "
            "paths are relative to the folder in which plora is started"
        )
    if any(has_ending(path, ending) for ending in TEXT_ENDINGS):
        return [_document(path)], left_out
    if path.suffix.lower() not in READERS:
        raise DataError(
            f"'{path}' ends in '{path.suffix}', which is not read; give {', '.join((*TEXT_ENDINGS, *READERS))}, or a "
            f"folder of {' and '.join(TEXT_ENDINGS)} files"
        )
    return table_documents(read_source(path, [column]), column)


def table_documents(source: Source, column: str) -> tuple[list[str], Counter[str]]:
    """Return the rows of a table as documents, and how many were left out because they are empty.

    Raises:
        DataError: there is no such column, it holds no texts, or one is missing.
    """
    rows = np.arange(source.table.num_rows)
    texts = [str(text) for text in texts_at(source, TableTask(text=column), rows)]
    found = [text for text in texts if text.strip()]
    return found, Counter(source.left_out) + Counter({_EMPTY: len(texts) - len(found)})


def paragraphs_of(texts: Iterable[str]) -> list[str]:
    """Return what stands between blank lines, each a document."""
    return [part.strip("\n") for text in texts for part in _BLANK_LINES.split(text) if part.strip()]


def _document(file: Path) -> str:
    if not file.is_file():  # a pipe or a device would be waited for, or never end
        raise DataError(f"'{file}' is neither a file nor a folder; write what it gives into a file first")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}; may you read it?") from None
    text = whole_text(content, f"'{file}'")
    if (place := text.find("\0")) >= 0:
        place = len(text[:place].encode()) + 1
        raise DataError(f"'{file}' is binary (byte 0x00 at place {place}); take it away, or give it another ending")
    if not text.strip():
        raise DataError(f"'{file}' is empty; a document needs a text: take it away, or write one")
    return text
