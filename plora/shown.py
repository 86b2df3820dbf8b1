r"""Text as it may be shown: what a reader cannot see, or what a terminal, a page or a sheet would act upon, as text.

Names of tasks, labels, texts and paths come from anybody's files. Where one leaves for a reader, it is escaped once,
by the function of that border; inside plora it stays as it is. `visible` is the rule of all of them, and a text that
went through it comes out of it again unchanged.
"""

import json
import re
import shlex

_HIDDEN = re.compile(
    "["
    r"\x00-\x1f\x7f-\x9f"  # control characters
    r"\u2028\u2029"  # separators of lines and paragraphs
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # directions: marks, embeddings, overrides, isolates
    r"\u00ad\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff"  # without width
    r"\u3164\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    r"\ufffe\uffff"  # no characters at all, which XML cannot carry
    r"\ud800-\udfff"  # lone surrogates, which UTF-8 cannot carry
    "]"
)
"""The joiners U+200C and U+200D, variation selectors and combining marks are not among them: Persian, Indic scripts and
emoji need them."""

_MARKUP = re.compile(r"(\\*)(<(?=[A-Za-z/!?])|&(?=#?\w+;)|[|`*]|(?<![^\W_])_|_(?![^\W_])|\](?=\())")
_BLOCK = re.compile(r"(\\*)(^[#>+=~-]|\](?=:|\[|$))")
_NUMBER = re.compile(r"^(\d+)([.)])")


def visible(text: str) -> str:
    r"""Return a text on one line, each hidden character as its escape: `\x1b`, `\n`, `\u202e`, `\ud800`.

    Everything else is untouched, backslashes too: what is escaped already is not escaped again.
    """
    return _HIDDEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def visible_lines(text: str) -> str:
    r"""Return `visible` of each line of a text; lines end with `\n` alone."""
    return "\n".join(map(visible, text.split("\n")))


def visible_json(value: object, indent: int | None = None) -> str:
    r"""Return a value as JSON for a terminal: letters of every language as they are, hidden characters as `\u` escapes.

    Raises:
        TypeError: JSON has no such value.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "\n".join(_HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], line) for line in text.split("\n"))


def markdown_cell(text: str) -> str:
    r"""Return a text inside a line of Markdown, a table's cell too: no HTML, link, code, emphasis or further cell.

    Only what would begin one of these has a backslash before it, so `o_lora`, `<0.001` and `R & D` stay as they are.
    """
    return _with_backslashes(_MARKUP, visible(text))


def markdown_text(text: str) -> str:
    """Return a text that begins a line of Markdown: a `markdown_cell`, and no heading, list or definition."""
    return _NUMBER.sub(r"\1\\\2", _with_backslashes(_BLOCK, markdown_cell(text)))


def _with_backslashes(marks: re.Pattern[str], text: str) -> str:
    """Put a backslash before each mark; those that stand there already are doubled, and stay what they are."""
    return marks.sub(lambda found: found[1] * 2 + "\\" + found[2], text)


def markdown_code(text: str) -> str:
    r"""Return a text that stands between backticks in Markdown; a backtick in it is written as `\x60`."""
    return visible(text).replace("`", r"\x60")


def shell_word(text: str) -> str:
    r"""Return a text as one word of a command of bash: quoted, hidden characters as escapes in `$'…'`."""
    if not _HIDDEN.search(text):
        return shlex.quote(text)
    inner = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + _HIDDEN.sub(lambda found: f"\\U{ord(found[0]):08x}", inner) + "'"
