"""Tables whose rows have targets: which columns are inputs, and which rows go into which split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from plora.errors import DataError
from plora.streams.base import Split, SplitName, Stream, StreamSource, Task
from plora.streams.columns import TableTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from plora.streams.targeted import Targeted

Values = Mapping[str, Sequence[object]]
"""Columns as they were read, by name."""


class TargetTask(BaseModel):
    """One task from tables: CSV or TSV with a header, JSON lines, or parquet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """Name of the task, unique in the stream."""

    train: Path
    """File with the training examples."""

    validation: Path | None = None
    """File with the validation examples; None: cut from train."""

    test: Path | None = None
    """File with the test examples; None: cut from train."""

    text: str | tuple[str, ...] = "text"
    """The column with the text; a list of two columns is a pair of texts, unless `join` is given."""

    join: str | None = None
    """Written between the columns of `text` to make one text of them, such as `". "`; nulls are left out."""

    image: str | None = None
    """A column with the paths of image files, which lead from the folder of the table; None: inputs are texts."""

    @property
    def columns(self) -> TableTask:
        """The columns of the texts."""
        return TableTask(text=self.text if self.image is None else self.image, join=self.join)


class TargetTables(StreamSource):
    """What streams of tables with targets have in common: how the missing splits are cut."""

    name: str = Field(min_length=1)
    """Name of the stream, shown in reports."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training rows that becomes validation, where no validation data are given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows that becomes test, where no test data are given."""


class Table:
    """The rows of one file.

    Args:
        path: of the file.
        task: which columns are inputs.
        targets: columns with targets.

    Attributes:
        where: what to call the file.
        values: of the columns with targets.

    Raises:
        DataError: the file or a column is not there; names it.
    """

    def __init__(self, path: Path, task: TargetTask, targets: Sequence[str]) -> None:
        from plora.streams.readers import content_hash, read_source, read_values

        of_lists = path.suffix.lower() in (".jsonl", ".parquet")
        inputs = task.columns.text_columns
        self.source = read_source(path, inputs if of_lists else (*inputs, *targets), targets[0])
        self.path, self.task, self.where = path, task, self.source.where
        self.values: Values = {
            name: read_values(path, name) if of_lists else self.source.table.column(name).to_pylist()
            for name in targets
        }
        if not len(self):
            raise DataError(f"{self.where} has no rows; a task needs examples")
        for name, found in self.values.items():
            if len(found) != len(self):
                raise DataError(f"{self.where}: column '{name}' has {len(found)} rows, and the inputs have {len(self)}")
        self.content = f"{path.name} sha256:{content_hash(path)}"

    def __len__(self) -> int:
        return int(self.source.table.num_rows)

    def inputs(self, rows: "NDArray[np.int64]") -> Split:
        """Return the inputs of some rows: texts, or files of images."""
        import numpy as np

        from plora.streams.base import Texts
        from plora.streams.images import ImageFiles
        from plora.streams.table import texts_at

        texts, none = texts_at(self.source, self.task.columns, rows), np.zeros(len(rows), np.int64)
        if self.task.image is None:
            return Texts(tuple(texts), none)
        paths = tuple(self.path.parent / str(text) for text in texts)
        for row, path in zip(rows.tolist(), paths, strict=True):
            if not path.is_file():
                raise DataError(f"{self.where}, row {row + 1}: there is no image file '{path}'; correct the path")
        return ImageFiles(paths, none)

    def keys(self) -> "NDArray[np.uint64]":
        """Return what decides which rows are held out, `[N]`: hashes of the texts, or of the paths."""
        import numpy as np

        from plora.streams.hashing import text_key
        from plora.streams.table import texts_at

        return np.array([text_key(text) for text in texts_at(self.source, self.task.columns, np.arange(len(self)))])


Read = tuple[Sequence[str], Mapping[SplitName, "NDArray[np.float64]"]]
"""Names of a task's targets, and those of each file, `[N, C]`."""


def stream_of(
    name: str,
    source: TargetTables,
    tasks: Sequence[tuple[TargetTask, Mapping[SplitName, Table], Read]],
    kind: "type[Targeted]",
    scenarios: tuple[str, ...],
) -> Stream:
    """Return a stream of tables whose targets were read; splits that are missing are cut from train.

    Args:
        name: of the stream.
        source: says how large the splits are.
        tasks: each with its tables and what was read of them.
        kind: of the targets.
        scenarios: that make sense.
    """
    import numpy as np

    from plora.streams.held_out import held_out
    from plora.streams.row_count import RowCount, row_notes

    made, provenance, counts = list[Task](), dict[str, str](), dict[str, RowCount]()
    for task, tables, (names, targets) in tasks:
        rows = {split: np.arange(len(table)) for split, table in tables.items()}
        keys = tables["train"].keys()
        cuts: tuple[tuple[SplitName, float], ...] = (
            ("test", source.test_fraction),
            ("validation", source.validation_fraction),
        )
        for split, fraction in cuts:
            if split not in tables:
                pool = rows["train"]
                held = held_out(keys[pool], np.zeros(len(pool), np.int64), None, fraction, None)
                rows[split], rows["train"] = pool[held], pool[~held]
        splits = {}
        for split, own in rows.items():
            of = split if split in tables else "train"
            splits[split] = kind(tables[of].inputs(own), targets[of][own])
        made.append(Task(task.name, tuple(names), splits["train"], splits["validation"], splits["test"]))
        for split, table in tables.items():
            found, lost = len(table) + sum(table.source.left_out.values()), table.source.left_out
            counts[f"{task.name}.{split}"] = RowCount(found, lost, {}, table.source.remarks)
            provenance[f"{task.name}.{split}"] = table.content
    return Stream(name, tuple(made), scenarios, provenance, row_notes(counts), counts)  # type: ignore[arg-type]


def tables_of(task: TargetTask, targets: Sequence[str]) -> dict[SplitName, Table]:
    """Read the files of a task.

    Args:
        task: of the stream.
        targets: columns with targets.

    Raises:
        DataError: a file or column is not there; names it.
    """
    given: dict[SplitName, Path | None] = {"train": task.train, "validation": task.validation, "test": task.test}
    return {split: Table(path, task, targets) for split, path in given.items() if path is not None}
