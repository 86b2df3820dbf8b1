r"""Lines of text files and of stdin: where one ends, and what is no UTF-8; the one reader of lines of all verbs."""

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from plora.errors import DataError

_MARK = b"\xef\xbb\xbf"


def text_lines(file: BinaryIO, where: str) -> Iterator[str]:
    r"""Yield the lines of a file, each with the `\n` or `\r\n` that ends it; the last may have none.

    Nothing else ends a line: U+2028, U+0085, a form feed or a lone `\r` stay in it. A file without any `\n` whose lines
    end in `\r`, as old Macs wrote them, is read by these. A byte order mark is no part of the first line.

    Args:
        file: opened for bytes.
        where: what to call it in a message.

    Raises:
        DataError: it is UTF-16, or a line is not UTF-8; names the line.
    """
    first = file.readline()
    _refuse_utf16(first, where)
    first = first.removeprefix(_MARK)
    lines = chain([first] if first else [], file)
    if b"\r" in first and not first.endswith(b"\n"):
        lines = chain(line + b"\n" for line in first.removesuffix(b"\r").split(b"\r"))
    for number, line in enumerate(lines, start=1):
        yield _decoded(line, f"{where}, line {number},")


def without_end(line: str) -> str:
    r"""Return a line without the `\n` or `\r\n` that ends it."""
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def whole_text(content: bytes, where: str) -> str:
    r"""Return a file as one text, whose lines end in `\n`.

    Raises:
        DataError: it is not UTF-8.
    """
    _refuse_utf16(content[:64], where)
    text = _decoded(content.removeprefix(_MARK), where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_utf16(start: bytes, where: str) -> None:
    """Of a letter of most languages, UTF-16 has one byte that is 0; some programs leave its mark out."""
    head = start[:64]
    halves = head[0::2], head[1::2]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(head) > 3 and any(not any(half) for half in halves)):
        raise DataError(f"{where} is UTF-16, not UTF-8; save it as UTF-8 (in Excel: 'CSV UTF-8')")


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 text (byte 0x{line[error.start]:02x} at place {error.start + 1}); save it as UTF-8"
        ) from None
