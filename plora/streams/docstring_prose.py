"""From a docstring to plain prose, with everything masked that names its library or its object.

What `prose` does, in order:
1. cut: a first line that is a signature, and everything from the first section on (`Parameters` over a rule,
   `Args:`, `:param x:` …); only the headers of sections that hold the description itself (`Explanation`,
   `Description`) are dropped and their text is kept, because sympy writes its descriptions there;
2. drop: doctests (`>>>` up to the next blank line), code blocks after `::`, directives such as
   `.. versionadded:: 1.4`, bullets, rules, formulas, web addresses;
3. unwrap: roles (:class:`~a.B` → a.B), links, backticks, asterisks;
4. mask (`MASK`): dotted names such as `np.asarray` or `torch.nn.Linear`, and the words given by the caller
   (names of libraries and of subpackages);
5. cut to paragraphs of single-spaced words.
"""

import re
from collections.abc import Iterable

MASK = "_"
"""Stands for what was masked."""

_SECTIONS = (
    r"parameters?|other parameters|args|arguments|kwargs|keyword (?:args|arguments)|returns?|yields?|raises?|"
    r"warns?|warnings?|examples?(?: usage)?|usage|notes?|shapes?|attributes|methods|references?|see also|"
    r"todo|inputs?|outputs?|options|variables|important|tip|caution|history|sample|algorithm"
)
_SECTION = re.compile(rf"(?:\*\*)?(?:{_SECTIONS})(?:\*\*)?\s*:{{0,2}}\s*(?:\*\*)?", re.IGNORECASE)
_GOOGLE_SECTION = re.compile(rf"(?:\*\*)?(?:{_SECTIONS})(?:\*\*)?\s*:{{1,2}}(?:\*\*)?(?:\s.*)?", re.IGNORECASE)
_FIELD = re.compile(r"[:@](?:param|parameter|arg|type|return|returns|rtype|raise|raises|keyword|key)\b.*")
_RULE = re.compile(r"[=\-~^*_#]{3,}")
_KEPT_HEADERS = frozenset({"explanation", "description", "introduction", "extended summary"})
_SIGNATURE = re.compile(r"[\w.]+\s*\(.*\)?(?:\s*->.*)?")
_DIRECTIVE = re.compile(r"\.\.\s.*")
_LIST_ITEM = re.compile(r"(?:[-*+•]|\d+[.)]|\(\w\))\s+")

_MARKUP: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r":math:`[^`]*`|\$[^$]+\$|\\\(.*?\\\)|\\[a-zA-Z]+(?:\{[^}]*\})*"), f" {MASK} "),
    (re.compile(r"(?:https?|ftp)://\S+|\bwww\.\S+"), f" {MASK} "),
    (re.compile(r"Read more in the (?::ref:`[^`]*`|\w+(?: \w+)*)\.?"), " "),  # stands in all of scikit-learn
    (re.compile(r":[a-zA-Z:+\-]+:`([^`<]*)(?:<[^>]*>)?`"), r" \1 "),
    (re.compile(r"`([^`<]+?)\s*<[^>]*>`_+"), r"\1"),
    (re.compile(r"\[\d+\]_?|\|"), " "),
    (re.compile(r"[`*~]+"), ""),
    (re.compile(r"\s+"), " "),
)
# e.g. and i.e. look like dotted names.
_DOTTED = re.compile(r"(?<![\w.])(?!(?:e\.g|i\.e)\b)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?:\(\))?")
_REPEATED_MASK = re.compile(rf"{MASK}(?:[\s,.;:()]*\s{MASK}(?!\w))+")
_WORD = re.compile(r"\w+")
_NO_LETTER = re.compile(r"[^a-z]+")


def prose(docstring: str, masked: re.Pattern[str]) -> tuple[str, ...]:
    """Return the description as paragraphs of plain text; empty where nothing is left.

    Args:
        docstring: with its indentation cleaned.
        masked: what to replace by `MASK`, from `words_pattern`.
    """
    paragraphs = [" ".join(lines) for lines in _paragraphs(docstring.splitlines())]
    plain = (_plain(paragraph, masked) for paragraph in paragraphs)
    return tuple(text for text in plain if re.search(r"[A-Za-z]{2}", text))


def words_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for any of the words, whole and in any case; of none, one that never matches."""
    chosen = sorted({word for word in words if word}, key=lambda word: (-len(word), word))
    if not chosen:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, chosen))})(?!\w)", re.IGNORECASE)


def mask(text: str, masked: re.Pattern[str]) -> str:
    """Replace every match by `MASK`, and a run of masks by one."""
    return _REPEATED_MASK.sub(MASK, masked.sub(MASK, text)).strip()


def mask_names(text: str, names: Iterable[str]) -> str:
    """Replace every one of the identifiers, whole and in any case, by `MASK`."""
    lowered = {name.lower() for name in names}
    # One fixed pattern: a pattern of its own for each of 13,000 objects would cost seconds to compile.
    return _REPEATED_MASK.sub(MASK, _WORD.sub(lambda found: MASK if found[0].lower() in lowered else found[0], text))


def normalised(text: str) -> str:
    """Return the letters of a text in lower case, one space between words: equal for near-identical texts."""
    return _NO_LETTER.sub(" ", text.lower()).strip()


def first_words(text: str, count: int) -> str:
    """Return the first `count` words."""
    return " ".join(text.split()[:count])


def _paragraphs(lines: list[str]) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    skip_doctest = False
    block_indent: int | None = None  # of the line that opened a code block; deeper lines belong to it
    for number, line in enumerate(lines):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        below = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if block_indent is not None and stripped and indent <= block_indent:
            block_indent = None
        if not stripped:
            skip_doctest = False
            paragraphs.append([])
        elif block_indent is not None or skip_doctest:
            continue
        elif stripped.startswith(">>>"):
            skip_doctest = True
        elif stripped.lower().rstrip(":") in _KEPT_HEADERS or _RULE.fullmatch(stripped):
            paragraphs.append([])
        elif _ends_description(stripped, below):
            break
        elif _DIRECTIVE.match(stripped):
            block_indent = indent
        elif number == 0 and _SIGNATURE.fullmatch(stripped):
            continue
        else:
            if stripped.endswith("::"):
                block_indent = indent
                stripped = stripped[:-1]
            paragraphs[-1].append(_LIST_ITEM.sub("", stripped, count=1))
    return paragraphs


def _ends_description(line: str, below: str) -> bool:
    if _FIELD.match(line) or _GOOGLE_SECTION.fullmatch(line):
        return True
    # "Parameters" over a rule is numpydoc; alone on its line it is a section in a few older files.
    return bool(_RULE.fullmatch(below)) or bool(_SECTION.fullmatch(line))


def _plain(text: str, masked: re.Pattern[str]) -> str:
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return mask(_DOTTED.sub(MASK, text), masked)
