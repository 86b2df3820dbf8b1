"""What is to be labelled or continued, as a command line gives it: texts, lines of files or stdin, tables, images."""

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from plora import atomic
from plora.config import RunConfig
from plora.errors import DataError, did_you_mean
from plora.run_folder.folder import RunFolder
from plora.runs.predicting import Prediction
from plora.streams.class_folders import entries
from plora.streams.columns import TableTask
from plora.streams.json_lines import json_records
from plora.streams.label_sets import LabelSetStream
from plora.streams.lines import text_lines, whole_text, without_end
from plora.streams.numbers import NumberStream
from plora.streams.readers import READERS, read_source, read_whole
from plora.streams.table import texts_at

LABEL, PROBABILITY = "predicted", "probability"
"""The columns that are written beside those that were read."""
_NAMES = (*READERS, ".txt", ".json", ".xlsx", ".xls", ".gz", ".zip", ".md", ".html", ".xml", ".pdf", ".doc", ".docx")
"""Endings of what is meant as the name of a file, whatever stands before them."""


@dataclass(frozen=True)
class GivenInputs:
    """N inputs, and where they come from.

    Args:
        inputs: as the run's problem takes them.
        rows: what is written of each beside its label.
        noun: what an input is, `text` or `file`.
        types: of the columns of a parquet file.
        left_out: lines or files that are no input, by reason.
        remarks: what else to know of how they were read.
        segmented: the run answers with a class for each pixel of them.
        tagged: the run answers with a tag for each word of them.
    """

    inputs: Sequence[object]
    rows: Sequence[Mapping[str, object]]
    noun: str = "text"
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    segmented: bool = False
    tagged: bool = False


def read_inputs(
    run: Path, given: Sequence[str], stdin: BinaryIO, task: str | None = None, columns: Sequence[str] = ()
) -> GivenInputs:
    r"""Read what is to be labelled: for each line of a file, and each row of a table, one input.

    Args:
        run: the run folder; it says whether inputs are texts, pairs of texts, or files.
        given: texts, or text files with one text per line (`\n` or `\r\n` ends it), or one table (CSV, TSV, JSON lines
            or parquet), or image files and folders of them; nothing reads lines from `stdin`: texts,
            or paths of images.
        stdin: opened for bytes.
        task: whose inputs they are, where there is a head per task.
        columns: of a table, the ones with the text; empty: those that the task was learned from.

    Raises:
        DataError: a file does not exist or cannot be read, or a pair has no tab; says which.
    """
    folder = RunFolder.existing(run)
    config = folder.read_config(to_answer=True)
    if not config.problem.in_lines:
        found = _images(given or [path for path, _ in _numbered(stdin, "stdin")])
        return replace(found, segmented=config.problem.segments)
    tables = [path for path in given if Path(path).suffix.lower() in READERS and _exists(path)]
    if tables:
        if len(given) > 1:
            raise DataError(f"'{tables[0]}' is a table, and {len(given)} inputs are given; name one table, alone")
        found = _table(Path(tables[0]), _columns(config, task, columns))
        return replace(found, tagged=config.problem.dense)
    if columns:
        raise DataError(f"--text names a column of a table, and no table is given ({', '.join(READERS)})")
    pairs = folder.read_environment().stream.pairs
    is_pair = _columns(config, task, ()).is_pair if pairs is None else bool(pairs) and (task is None or task in pairs)
    inputs = [_input(text, where, is_pair) for text, where in _texts(given, stdin)]
    return GivenInputs(inputs, [_as_row(text) for text in inputs], tagged=config.problem.dense)


def read_prompts(given: Sequence[str], file: Path | None, stdin: BinaryIO) -> list[str]:
    r"""Read what is to be continued: prompts as they are given, then the lines of a file, `\n` or `\r\n` at their end.

    Args:
        given: prompts.
        file: with one prompt per line, or None.
        stdin: opened for bytes; read where there is neither.

    Raises:
        DataError: the file does not exist, or something is not UTF-8; says what.
    """
    found = [whole_text(os.fsencode(text), f"prompt {number}") for number, text in enumerate(given, start=1)]
    if file is not None:
        if not file.is_file():
            raise DataError(f"there is no file '{file}' with prompts")
        with file.open("rb") as lines:
            found += [text for text, _ in _numbered(lines, f"'{file}'")]
    if not given and file is None:
        found += [text for text, _ in _numbered(stdin, "stdin")]
    return found


def write_labelled(path: Path, given: GivenInputs, predictions: Sequence[Prediction]) -> None:
    """Write a table, a row per input: the columns that were read, and what was found; see `Prediction.cells`.

    Args:
        path: CSV, TSV, JSON lines or parquet, by its ending; it is replaced where it exists.
        given: N inputs.
        predictions: of each.
    """
    rows = [{**row, **found.cells} for row, found in zip(given.rows, predictions, strict=True)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    ending = path.suffix.lower()
    if ending == ".parquet":
        columns = [_column([row.get(name) for row in rows], given.types.get(name)) for name in names]
        with atomic.atomic_path(path) as temporary:
            pyarrow.parquet.write_table(pa.Table.from_arrays(columns, names=names), temporary)
    elif ending == ".jsonl":
        atomic.write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in rows))
    else:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
        atomic.write_text(path, text.getvalue())


def require_writable(path: Path, given: Sequence[str], inputs: GivenInputs) -> None:
    """Refuse, before anything is computed, a file that labels cannot be written to.

    Raises:
        DataError: its ending is unknown, it is what was read, or a column has the name of one of ours.
    """
    if path.suffix.lower() not in READERS:
        raise DataError(f"--out {path}: expected a name that ends in {', '.join(READERS)}")
    if path.is_dir():
        raise DataError(f"--out {path} is a folder; name a file in it")
    if any(_exists(name) and path.exists() and os.path.samefile(name, path) for name in given):
        raise DataError(f"--out {path} is the file that is read; name another one")
    for name in (LABEL, PROBABILITY):
        if any(name in row for row in inputs.rows):
            raise DataError(f"there is a column '{name}' already, which is to be written; rename it")


def _images(given: Sequence[str]) -> GivenInputs:
    """The files, and those right in the folders."""
    found: list[str] = []
    left_out: Counter[str] = Counter()
    for path in given:
        if not os.path.isdir(path):
            found.append(path)
            continue
        visible = list(entries(Path(path), left_out))
        inside = [str(entry) for entry in visible if entry.is_file()]
        left_out["folders in a folder"] += len(visible) - len(inside)
        if not inside:
            raise DataError(f"folder {path} holds no files; name image files, or a folder with image files right in it")
        found += inside
    return GivenInputs(found, [{"file": path} for path in found], "file", left_out=left_out)


def _table(path: Path, columns: TableTask) -> GivenInputs:
    try:
        source = read_source(path, columns.text_columns, columns.label)
    except DataError as error:
        if "has no column" in str(error):
            raise DataError(f"{error}; name the one with the texts by --text") from None
        raise
    texts = texts_at(source, columns, np.arange(source.table.num_rows))
    if path.suffix.lower() == ".jsonl":
        rows = [record for _, record in json_records(path) if record is not None]
        return GivenInputs(texts, rows, left_out=source.left_out, remarks=source.remarks)
    whole = read_whole(path)
    types = {name: whole.schema.field(name).type for name in whole.column_names}
    return GivenInputs(texts, whole.to_pylist(), types=types, left_out=source.left_out, remarks=source.remarks)


def _columns(config: RunConfig, task: str | None, given: Sequence[str]) -> TableTask:
    """The columns of the texts of a task, as it was learned."""
    learned: list[tuple[str, TableTask]] = [(one.name, one) for one in config.listed if isinstance(one, TableTask)]
    tasks = config.stream.tasks if isinstance(config.stream, LabelSetStream | NumberStream) else ()
    learned += [(one.name, one.columns) for one in tasks]
    columns = next((own for name, own in learned if task in (None, name)), TableTask())
    if not given:
        return columns
    return TableTask(text=tuple(given), join=columns.join if len(given) == len(columns.text_columns) else None)


def _texts(given: Sequence[str], stdin: BinaryIO) -> Iterator[tuple[str, str]]:
    """Each text, and what to call it in a message."""
    if not given:
        yield from _numbered(stdin, "stdin")
    for number, text in enumerate(given, start=1):
        if _exists(text):
            if os.path.isdir(text):
                raise DataError(f"'{text}' is a folder; name a file with one text per line, or a table")
            with open(text, "rb") as file:
                yield from _numbered(file, f"'{text}'")
        elif _is_named_like_a_file(text):
            folder = Path(text).parent
            nearby = [other.name for other in folder.iterdir()] if folder.is_dir() else []
            raise DataError(
                f"there is no file '{text}'{did_you_mean(Path(text).name, nearby)}; a text that looks like the name of "
                "a file is given by stdin, one per line"
            )
        else:
            yield whole_text(os.fsencode(text), f"text {number}"), f"text {number}"


def _numbered(file: BinaryIO, where: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text_lines(file, where), start=1):
        yield without_end(line), f"{where}, line {number}"


def _exists(path: str) -> bool:
    """Whether something has this name; a text may be longer than any name."""
    try:
        return os.path.exists(path)
    except ValueError:
        return False


def _is_named_like_a_file(text: str) -> bool:
    """Whether a text that names no file was meant to: it ends like one, or is one word that is a path."""
    if "\n" in text or len(text) > 255:
        return False
    if text.lower().endswith(_NAMES):
        return True
    if len(text.split()) != 1:
        return False
    stem, dot, ending = text.rpartition(".")
    if dot and stem[-1:].isalnum() and ending[:1].isalpha() and ending.isalnum() and len(ending) <= 5:
        return True
    return text.startswith(("./", "../", "~/", "/")) or (os.sep in text and Path(text).parent.is_dir())


def _input(text: str, where: str, is_pair: bool) -> str | tuple[str, str]:
    if not is_pair:
        return text
    first, tab, second = text.partition("\t")
    if not tab:
        raise DataError(f"{where} has no tab; the task was learned on pairs: write the first text, a tab, the second")
    return first, second


def _as_row(text: str | tuple[str, str]) -> dict[str, object]:
    return {"text": text} if isinstance(text, str) else {"first": text[0], "second": text[1]}


def _cell(value: object) -> str:
    """A value in a CSV file."""
    if value is None or isinstance(value, str):
        return value or ""
    structured = isinstance(value, bool | int | float | list | dict)
    return json.dumps(value, ensure_ascii=False, default=str) if structured else str(value)


def _column(values: Sequence[object], kind: pa.DataType | None) -> pa.Array:
    """A column of a parquet file; values of several types become texts."""
    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array([None if value is None else _cell(value) for value in values], type=pa.large_string())
