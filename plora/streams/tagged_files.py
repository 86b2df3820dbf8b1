"""Sentences with tags as they stand in files: JSON lines and parquet with two lists a row, and CoNLL columns."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plora.errors import DataError, did_you_mean
from plora.streams.json_lines import json_records
from plora.streams.lines import text_lines, without_end
from plora.streams.readers import read_source
from plora.streams.source import Source, column_of
from plora.streams.tagged_sentences import OUTSIDE, Words

COLUMNS = (".conll", ".bio", ".iob", ".iob2", ".txt")
"""Endings of files with a word and its tag on each line, and a blank line after each sentence."""
_TABLES = (".jsonl", ".parquet")
_DOCUMENT = "-DOCSTART-"
_TAG = re.compile(r"O|[BI]-\S(.*\S)?")
_OTHER_SCHEME = re.compile(r"[ESLU]-\S.*")
_EMPTY = "without a word"


@dataclass(frozen=True)
class FoundSentences:
    """Sentences as they were read.

    Args:
        words: of each.
        tags: of each, one for each word: `O`, `B-…` or `I-…`.
        left_out: rows that are no sentence, by reason.
        stray: how many I- follow no word of their type.
    """

    words: tuple[Words, ...]
    tags: tuple[Words, ...]
    left_out: Mapping[str, int]
    stray: int


def read_tagged(path: Path, words: str, tags: str, tag_names: Sequence[str] | None) -> FoundSentences:
    """Read a file of sentences with tags.

    Args:
        path: JSON lines, parquet, or columns: the word is the first of a line, and its tag the last.
        words, tags: of JSON lines and parquet, the columns with lists of words and of their tags.
        tag_names: of tags that are numbers, by number; None: what a parquet file declares.

    Raises:
        DataError: it is not there or of another kind, or a sentence cannot be used; names the line or row.
    """
    ending = path.suffix.lower()
    if ending not in (*_TABLES, *COLUMNS):
        raise DataError(
            f"'{path}' ends in '{path.suffix}'; sentences with tags stand in {', '.join(_TABLES)} (two lists a row) or "
            f"{', '.join(COLUMNS)} (a word and its tag a line)"
        )
    if not path.is_file():
        nearby = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no file '{path}'{did_you_mean(path.name, nearby)}")
    if ending == ".parquet":
        return tagged_table(read_source(path, (words, tags)), words, tags, tag_names)
    if ending == ".jsonl":
        return _checked(_of_json(path, words, tags), tag_names)
    return _checked(_of_columns(path), tag_names)


def tagged_table(source: Source, words: str, tags: str, tag_names: Sequence[str] | None) -> FoundSentences:
    """Return the sentences of a table with a column of lists of words, and one of lists of their tags.

    Raises:
        DataError: there is no such column, or a sentence cannot be used; names the row.
    """
    names = tag_names or _declared(source, tags)
    both = zip(column_of(source, words).to_pylist(), column_of(source, tags).to_pylist(), strict=True)
    return _checked(((f"{source.where}, row {row}", *lists) for row, lists in enumerate(both, start=1)), names)


_Row = tuple[str, object, object]
"""Where it stands, its words, and their tags."""


def _of_json(path: Path, words: str, tags: str) -> Iterator[_Row]:
    for number, record in json_records(path):
        if record is None:
            continue
        where = f"'{path}', line {number}"
        for name in (words, tags):
            if name not in record:
                raise DataError(
                    f"{where}, has no '{name}'; it has: {', '.join(record) or 'nothing'}{did_you_mean(name, record)}"
                )
        yield where, record[words], record[tags]


def _of_columns(path: Path) -> Iterator[_Row]:
    first, words, tags = 1, list[str](), list[str]()
    with path.open("rb") as file:
        for number, line in enumerate(text_lines(file, f"'{path}'"), start=1):
            plain = without_end(line)
            cells = [cell.strip() for cell in plain.strip().split("\t")] if "\t" in plain.strip() else plain.split()
            if not cells:
                if words:
                    yield f"'{path}', line {first}", words, tags
                words, tags = [], []
                continue
            if cells[0] == _DOCUMENT:
                continue
            if len(cells) < 2:
                raise DataError(
                    f"'{path}', line {number}: '{cells[0][:40]}' stands alone; a line is a word, its tag last, and a "
                    "blank line ends a sentence"
                )
            if not words:
                first = number
            words.append(cells[0])
            tags.append(cells[-1])
    if words:
        yield f"'{path}', line {first}", words, tags


def _checked(rows: Iterable[_Row], names: Sequence[str] | None) -> FoundSentences:
    every: list[Words] = []
    tagged: list[Words] = []
    left_out, stray = Counter[str](), 0
    for where, words, tags in rows:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f'{where}: the words are {_got(words)}; expected a list of texts, such as ["a", "word"]')
        if not isinstance(tags, list):
            raise DataError(f'{where}: the tags are {_got(tags)}; expected a list, such as ["O", "B-person"]')
        if len(words) != len(tags):
            raise DataError(f"{where}: {len(words)} words and {len(tags)} tags; every word has one tag")
        if not words:
            left_out[_EMPTY] += 1
            continue
        if blank := [place for place, word in enumerate(words, start=1) if not word.strip()]:
            raise DataError(f"{where}: word {blank[0]} is blank; take it out, and its tag")
        own = tuple(_named(tag, names, f"{where}, word {place}") for place, tag in enumerate(tags, start=1))
        before = OUTSIDE
        for tag in own:
            stray += tag.startswith("I-") and before[2:] != tag[2:]
            before = tag
        every.append(tuple(words))
        tagged.append(own)
    return FoundSentences(tuple(every), tuple(tagged), left_out, stray)


def _named(tag: object, names: Sequence[str] | None, where: str) -> str:
    """A tag in the scheme, by its name."""
    if isinstance(tag, int) and not isinstance(tag, bool):
        if names is None:
            raise DataError(f"{where}: the tag is the number {tag}, and nothing names it; set tag_names")
        if not 0 <= tag < len(names):
            raise DataError(f"{where}: the tag is {tag}, and there are {len(names)} names (0 to {len(names) - 1})")
        tag = names[tag]
    if not isinstance(tag, str):
        raise DataError(f"{where}: the tag is {_got(tag)}; expected O, B-… or I-…, or its number")
    if _TAG.fullmatch(tag):
        return tag
    if _OTHER_SCHEME.fullmatch(tag):
        raise DataError(
            f"{where}: the tag '{tag}' is of another scheme; write entities as B- and then I- (IOB2): B- for S- and "
            "U-, I- for E- and L-"
        )
    raise DataError(f"{where}: the tag '{tag}' is none of O, B-… and I-…")


def _got(value: object) -> str:
    if isinstance(value, list):
        strange = next((one for one in value if not isinstance(one, str)), None)
        return f"a list with {type(strange).__name__} in it"
    return "missing" if value is None else type(value).__name__


def _declared(source: Source, tags: str) -> tuple[str, ...] | None:
    """The names that `datasets` wrote for a list of ClassLabel into the schema, or None."""
    try:
        info = json.loads((source.table.schema.metadata or {})[b"huggingface"])
        feature = info["info"]["features"][tags]
        inner = feature[0] if isinstance(feature, list) else feature["feature"]
        names = inner["names"] if inner["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, IndexError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
