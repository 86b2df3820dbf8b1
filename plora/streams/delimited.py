"""CSV and TSV: rows whose quotes are as the file's other rows say, or one line that names the row.

A quote that nobody meant as one opens a field that goes on into the next rows. So CSV is read strictly (RFC 4180: a
quote inside a quoted field is written twice), a row of several lines must not hold what looks like further rows, and
TSV, which many programs write without any quoting, is read without it unless it is quoted throughout.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from plora.errors import DataError
from plora.streams.lines import text_lines, without_end
from plora.streams.source import Source

BLANK = "blank lines"
_LONGEST_FIELD = 2**26
"""Characters; the default of `csv` is less than some texts have."""
_AT_ONCE = 10_000  # rows that are Python strings at once
_SEPARATORS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}


def read_delimited(path: Path, columns: Sequence[str] | None = None, label: str | None = None) -> Source:
    """Read a CSV or TSV file; every cell is a text.

    Args:
        path: of the file; `.tsv` has tabs between its columns, all others have commas.
        columns: those that are kept; the others have their names alone. None keeps all.
        label: the column of labels; a row of several lines must not hold lines that end, or begin, in one.

    Raises:
        DataError: the columns are separated by something else, a row has more or fewer fields than the first line, or a
            quote is out of place; names row and line.
    """
    return _Reading(path, "\t" if path.suffix.lower() == ".tsv" else ",", columns, label).source()


@dataclass
class _Reading:
    path: Path
    delimiter: str
    columns: Sequence[str] | None
    label: str | None
    blank: int = 0
    remarks: list[str] = field(default_factory=list)

    def source(self) -> Source:
        header, names = self._header()
        if self.delimiter == "\t" and not _is_quoted(header):
            table = self._without_quotes(names)
        else:
            table = self._with_quotes(names)
        return Source(table, f"'{self.path}'", {BLANK: self.blank} if self.blank else {}, tuple(self.remarks))

    def _lines(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            yield from text_lines(file, f"'{self.path}'")

    def _header(self) -> tuple[str, list[str]]:
        """The first line, and the names of the columns."""
        header = next((without_end(line) for line in self._lines() if line.strip()), None)
        if header is None:
            raise DataError(f"'{self.path}' is empty; the first line of a CSV file names its columns")
        self._refuse_other_separator(header)
        if self.delimiter == "\t" and not _is_quoted(header):
            return header, [self._name(name) for name in header.split("\t")]
        with _long_fields():
            reader = csv.reader((line for line in self._lines() if line.strip()), delimiter=self.delimiter, strict=True)
            try:
                return header, [self._name(name) for name in next(reader)]
            except csv.Error:
                raise DataError(
                    f"'{self.path}', line 1: the names of the columns have a quote that is out of place; take it out"
                ) from None

    def _name(self, written: str) -> str:
        """The name of a column; blanks around it are none of it, unless it is asked for with them."""
        return written if written in (self.columns or ()) else written.strip()

    def _refuse_other_separator(self, header: str) -> None:
        wanted = {name.strip() for name in self.columns or ()}
        if header.lower().startswith("sep="):
            raise DataError(f"'{self.path}' begins with '{header}', which is for Excel alone; take this line out")

        def names(separator: str) -> set[str]:
            return {name.strip().strip('"').strip() for name in header.split(separator)}

        own, should = names(self.delimiter), _SEPARATORS[self.delimiter]
        for separator, said in _SEPARATORS.items():
            found = names(separator)
            if separator == self.delimiter or len(found) < 2 or (wanted and wanted <= own):
                continue
            if len(own) == 1 or (wanted and wanted <= found):
                how = "give it the ending .tsv" if separator == "\t" else f"save it with {should}"
                raise DataError(
                    f"'{self.path}': its columns seem to be separated by {said}, and {should} was expected; {how}"
                )

    # ------------------------------------------------------------------ as RFC 4180 has it

    def _with_quotes(self, names: Sequence[str]) -> pa.Table:
        made = _Columns(names, self.columns)
        doubtful: list[tuple[int, int, str, list[set[str]]]] = []
        several, first_several = 0, 0
        labels: set[str] = set()
        at = None if self.label is None or self.label not in names else names.index(self.label)
        for number, (line, fields, raw) in enumerate(self._rows(names), start=1):
            made.add(fields)
            if len(raw) == 1:
                if at is not None:
                    labels.add(fields[at].strip())
                continue
            several, first_several = several + 1, first_several or number
            if at is not None:
                found = [self._labels_in(text, len(names), at) for text in raw]
                if sum(map(bool, found)) > 1:
                    doubtful.append((number, line, fields[at].strip(), found))
        for number, line, own, found in doubtful:
            like = sum(bool(values & {*labels, own}) for values in found)
            if like > 1:
                raise DataError(
                    f"'{self.path}', row {number} (lines {line} to {line + len(found) - 1}): a quoted field goes over "
                    f"{len(found)} lines, of which {like} look like rows of their own; take out the quote that opens "
                    'it, or write it twice and the whole field in quotes ("5"" screen"); if it is meant so, write '
                    "JSON lines"
                )
        if several:
            self.remarks.append(f"rows with texts of several lines: {several} (the first: row {first_several})")
        return made.table()

    def _labels_in(self, line: str, count: int, at: int) -> set[str]:
        """What stands in the column of labels, if a line is taken for a row; empty where it cannot be one."""
        cells = [cell.strip().strip('"').strip() for cell in line.split(self.delimiter)]
        return {cells[at], cells[at - count]} if len(cells) >= count > 1 else set()

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[int, list[str], list[str]]]:
        """Number of the first line, fields, and the lines of each row."""
        raw: list[str] = []

        def feed() -> Iterator[str]:
            for text in self._lines():
                raw.append(text)
                yield text

        with _long_fields():
            reader = csv.reader(feed(), delimiter=self.delimiter, strict=True)
            number, seen_header, self.blank = 0, False, 0
            while True:
                raw.clear()
                start = reader.line_num + 1
                try:
                    fields = next(reader, None)
                except csv.Error as error:
                    self._refuse_quote(str(error), number + 1, start, reader.line_num, "".join(raw))
                if fields is None:
                    return
                if not fields or (len(raw) == 1 and not raw[0].strip()):
                    self.blank += seen_header
                elif not seen_header:
                    seen_header = True
                else:
                    number += 1
                    if len(fields) != len(names) or any('"' in cell for cell in fields):
                        self._check(fields, names, number, start, "".join(raw))
                    yield start, fields, list(raw)

    def _refuse_quote(self, error: str, row: int, start: int, line: int, raw: str) -> None:
        lines = f"line {start}" if line <= start else f"lines {start} to {line}"
        where = f"'{self.path}', row {row} ({lines})"
        if "new-line" in error:
            raise DataError(f"{where}: a carriage return stands in a field without quotes; put the field in quotes")
        remedy = 'a quote inside a field is written twice, and the field in quotes ("5"" screen"); or take it out'
        if "expected after" in error:
            raise DataError(f"{where}: the field goes on after the quote that closes it; {remedy}")
        raise DataError(f"{where}: a quote opens a field and is never closed; {remedy}")

    def _check(self, fields: list[str], names: Sequence[str], row: int, line: int, raw: str) -> None:
        where = f"'{self.path}', row {row} (line {line})"
        late = next((name for name, cell in zip(names, fields, strict=False) if _is_quoted_late(cell)), None)
        if late is not None or (len(fields) != len(names) and f'{self.delimiter} "' in raw):
            raise DataError(
                f"{where}: blanks stand before the quote that opens a field, so the quotes would be part of it; take "
                f"out the blanks after each {_SEPARATORS[self.delimiter]}"
            )
        if len(fields) != len(names):
            raise DataError(_uneven(where, len(fields), names, self.delimiter))

    # ------------------------------------------------------------------ without quoting

    def _without_quotes(self, names: Sequence[str]) -> pa.Table:
        """The rows as they stand, a line each; where the lines are no rows, those that quotes make."""
        columns = [_Quotes() for _ in names]
        uneven: str | None = None
        for number, line, fields in self._plain_rows():
            if len(fields) != len(names):
                uneven = _uneven(f"'{self.path}', row {number} (line {line})", len(fields), names, "\t")
                break
            for quotes, cell in zip(columns, fields, strict=True):
                quotes.see(cell)
        if uneven is not None:
            try:
                return self._with_quotes(names)
            except DataError:
                raise DataError(uneven) from None
        made = _Columns(names, self.columns)
        for _, _, fields in self._plain_rows():
            made.add([quotes.taken(cell) for quotes, cell in zip(columns, fields, strict=True)])
        kept = sum(quotes.opening for quotes in columns if not quotes.is_used)
        if kept:
            self.remarks.append(f"read without quoting; fields that begin with a quote, which is part of them: {kept}")
        return made.table()

    def _plain_rows(self) -> Iterator[tuple[int, int, list[str]]]:
        """Number, line and fields of each row, a line each."""
        number, seen_header, self.blank = 0, False, 0
        for line, text in enumerate(self._lines(), start=1):
            row = without_end(text)
            if not row.strip():
                self.blank += seen_header
            elif not seen_header:
                seen_header = True
            else:
                number += 1
                yield number, line, row.split("\t")


@dataclass
class _Quotes:
    """Whether the quotes of a column are quoting: around every cell, or around every cell that has one inside."""

    every: bool = True
    needed: bool = True
    opening: int = 0

    def see(self, cell: str) -> None:
        if '"' not in cell:
            self.every = self.every and not cell
            return
        quoted = _is_quoted(cell)
        self.every = self.every and quoted
        self.needed = self.needed and quoted and '""' in cell[1:-1]
        self.opening += cell.startswith('"')

    @property
    def is_used(self) -> bool:
        return self.opening > 0 and (self.every or self.needed)

    def taken(self, cell: str) -> str:
        return cell[1:-1].replace('""', '"') if self.is_used and _is_quoted(cell) else cell


class _Columns:
    """Rows that become a table, some at a time."""

    def __init__(self, names: Sequence[str], kept: Sequence[str] | None) -> None:
        self._names = names
        self._kept = [place for place, name in enumerate(names) if kept is None or name in kept]
        self._chunks: list[list[pa.Array]] = [[] for _ in self._kept]
        self._rows: list[list[str]] = []
        self._count = 0

    def add(self, fields: list[str]) -> None:
        self._rows.append([fields[place] for place in self._kept])
        self._count += 1
        if len(self._rows) == _AT_ONCE:
            self._flush()

    def table(self) -> pa.Table:
        self._flush()
        columns: list[pa.Array | pa.ChunkedArray] = [pa.nulls(self._count) for _ in self._names]
        for place, chunks in zip(self._kept, self._chunks, strict=True):
            columns[place] = pa.chunked_array(chunks, type=pa.large_string())
        return pa.Table.from_arrays(columns, names=list(self._names))

    def _flush(self) -> None:
        for place, chunks in enumerate(self._chunks):
            chunks.append(pa.array([row[place] for row in self._rows], type=pa.large_string()))
        self._rows.clear()


def _is_quoted(cell: str) -> bool:
    """Whether a cell, or a whole line, is in quotes from end to end, those inside it written twice."""
    parts = cell.split("\t")
    return all(
        len(part) > 1 and part[0] == part[-1] == '"' and '"' not in part[1:-1].replace('""', "") for part in parts
    )


def _is_quoted_late(cell: str) -> bool:
    """Whether a field has blanks and then quotes around it."""
    inner = cell.strip()
    return cell[:1] in (" ", "\xa0") and len(inner) > 1 and inner[0] == inner[-1] == '"'


def _uneven(where: str, count: int, names: Sequence[str], delimiter: str) -> str:
    fields = "1 field" if count == 1 else f"{count} fields"
    shown = f"{len(names)} columns" if len(names) > 1 else "1 column"
    said = _SEPARATORS[delimiter]
    remedy = f"put a text that has {said} in it in quotes" if count > len(names) else "complete the row, or take it out"
    if delimiter == "\t" and count > len(names):
        remedy = "take the tabs out of the text, or write JSON lines"
    return f"{where} has {fields}, and the first line names {shown} ({', '.join(names[:8])}); {remedy}"


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let `csv` read long fields; its limit is one of the whole process."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)
