"""A stream from files on this machine."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from plora.streams.base import SplitName, Stream, Task
from plora.streams.columns import TableSource, TableTask


class LocalTask(TableTask):
    """One task from files: CSV or TSV with a header, JSON lines, parquet, or a folder per class.

    - {name: mail, train: mail.csv, text: [subject, body], join: ". ", label: folder}
    - {name: news, train: news/train, test: news/test}    # news/train/<class>/*.txt
    """

    name: str = Field(min_length=1)
    """Name of the task, unique in the stream."""

    train: Path
    """File or folder with the training examples."""

    validation: Path | None = None
    """File or folder with the validation examples; None: cut from train."""

    test: Path | None = None
    """File or folder with the test examples; None: cut from train."""


class LocalStream(TableSource):
    """Tasks from local files, in the order in which they are listed."""

    kind: Literal["local"] = "local"

    name: str = Field(default="local", min_length=1)
    """Name of the stream, shown in reports."""

    tasks: tuple[LocalTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are learned."""

    def load(self) -> Stream:
        """Read the files and cut the splits that are missing.

        Raises:
            DataError: a file, a row, a column or a label that cannot be used; says which.
        """
        from plora.streams.label_text import alike_note
        from plora.streams.readers import content_hash, read_source
        from plora.streams.row_count import RowCount, row_notes
        from plora.streams.source import Source
        from plora.streams.table import task_from_tables

        tasks: list[Task] = []
        provenance: dict[str, str] = {}
        rows: dict[str, RowCount] = {}
        for task in self.tasks:
            columns = (*task.text_columns, task.label)
            sources: dict[SplitName, Source] = {}
            given: dict[SplitName, Path | None] = {"train": task.train, "validation": task.validation}
            for split, path in {**given, "test": task.test}.items():
                if path is not None:
                    sources[split] = read_source(path, columns, task.label)
                    provenance[f"{task.name}.{split}"] = f"{path.name} sha256:{content_hash(path)}"
            made, counts = task_from_tables(
                task.name, task, self, sources["train"], sources.get("validation"), sources.get("test")
            )
            tasks.append(made)
            rows |= {f"{task.name}.{split}": count for split, count in counts.items()}
        notes = {**row_notes(rows), **alike_note(label for made in tasks for label in made.label_names)}
        return Stream(name=self.name, tasks=tuple(tasks), provenance=provenance, notes=notes, rows=rows)
