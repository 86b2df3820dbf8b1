"""A stream of texts or images with any number of labels each, from tables."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from plora.errors import DataError
from plora.streams.base import SplitName, Stream
from plora.streams.target_tables import Read, Table, TargetTables, TargetTask, Values, stream_of, tables_of


class LabelSetTask(TargetTask):
    """One task from tables: CSV or TSV with a header, JSON lines, or parquet.

    - {name: mail, train: mail.jsonl, labels: topics}                        # a column of lists
    - {name: news, train: news.csv, labels: topics, separator: ";"}          # of texts such as sport;football
    - {name: tags, train: tags.csv, labels: [urgent, private]}               # a column of 0 and 1 for each label
    """

    labels: str | tuple[str, ...] = "labels"
    """The column with the labels of each example; or several columns, one for each label, of 0 and 1."""

    separator: str | None = Field(default=None, min_length=1)
    """What stands between the labels of an example, where the column holds texts; None: it holds lists."""

    label_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    """The names of the labels, in order; None: those that are found, sorted."""

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if not isinstance(self.labels, str):
            if self.separator is not None or self.label_names is not None:
                raise ValueError("labels names a column for each label; leave separator and label_names out")
            if not self.labels or len(set(self.labels)) != len(self.labels):
                raise ValueError(f"labels must name one column or several different ones, got {list(self.labels)}")
        for name in self.label_names or ():
            if self.separator is not None and self.separator in name:
                raise ValueError(
                    f"label_names: '{name}' has the separator '{self.separator}' in it, so that no example could have "
                    "it; choose another separator, or rename the label"
                )
        if self.label_names is not None and len(set(self.label_names)) != len(self.label_names):
            raise ValueError(f"label_names must be different names, got {list(self.label_names)}")
        return self


class LabelSetStream(TargetTables):
    """Texts or images with any number of labels each, from local tables; for `problem: {kind: text_multi_label}`.

    An example may have no label at all. It says something of all labels of its task, and nothing of those of others.
    """

    kind: Literal["label_sets"] = "label_sets"

    name: str = Field(default="label_sets", min_length=1)
    """Name of the stream, shown in reports."""

    tasks: tuple[LabelSetTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are learned."""

    def load(self) -> Stream:
        """Read the files and cut the splits that are missing.

        Raises:
            DataError: a file, a row, a column or a label that cannot be used; says which.
        """
        from plora.streams.targeted import LabelSets

        read = []
        for task in self.tasks:
            tables = tables_of(task, (task.labels,) if isinstance(task.labels, str) else task.labels)
            read.append((task, tables, _read(task, tables)))
        stream = stream_of(self.name, self, read, LabelSets, ("task", "class", "domain"))
        for made in stream.tasks:
            for split, found in made.splits():
                assert isinstance(found, LabelSets)
                had = found.targets.any(0)
                if split == "train" and not had.all():
                    name = made.label_names[int(had.argmin())]
                    raise DataError(
                        f"task '{made.name}': no training example has the label '{name}'; give it some, or leave it out"
                    )
        return stream


def _read(task: LabelSetTask, tables: Mapping[SplitName, Table]) -> Read:
    import numpy as np

    if not isinstance(task.labels, str):
        return task.labels, {split: _flags(table.where, table.values) for split, table in tables.items()}
    sets = {split: _sets(table.where, task, table.values[task.labels]) for split, table in tables.items()}
    found = sorted({label for own in sets["train"] for label in own})
    names = task.label_names or tuple(found)
    if not names:
        raise DataError(
            f"task '{task.name}': no training example has a label in column '{task.labels}'; name the column with them"
        )
    place = {name: number for number, name in enumerate(names)}
    targets = {}
    for split, own in sets.items():
        targets[split] = np.zeros((len(own), len(names)))
        for row, labels in enumerate(own):
            for label in labels:
                if label not in place:
                    raise DataError(_unknown(tables[split].where, row, label, task, names))
                targets[split][row, place[label]] = 1
    return names, targets


def _unknown(where: str, row: int, label: str, task: LabelSetTask, names: Sequence[str]) -> str:
    from plora.streams.label_text import looks_like

    known = "label_names" if task.label_names else "the labels of train"
    return (
        f"{where}, row {row + 1}: the label '{label[:80]}' is not one of {known} ({', '.join(names[:8])})"
        f"{looks_like(label, names)}; correct the row, or give training examples with it"
    )


def _sets(where: str, task: LabelSetTask, values: Sequence[object]) -> list[list[str]]:
    """The labels of each row."""
    from plora.streams.label_text import clean_label

    found = []
    for row, value in enumerate(values):
        place = f"{where}, row {row + 1}"
        if value is None and task.separator is not None:
            value = ""
        if isinstance(value, str) and task.separator is not None:
            parts = [clean_label(part) for part in value.split(task.separator)] if value.strip() else []
        elif isinstance(value, list) and task.separator is None:
            if any(not isinstance(part, str | int) or isinstance(part, bool) for part in value):
                raise DataError(
                    f"{place}: the list in column '{task.labels}' holds {value!r:.60}; labels are names or integers"
                )
            parts = [clean_label(str(part)) for part in value]
        elif isinstance(value, str):
            raise DataError(
                f"{place}: column '{task.labels}' holds the text '{value[:60]}', and lists were expected; set "
                "separator to what stands between labels, such as ';'"
            )
        elif value is None:
            raise DataError(f"{place}: the labels in column '{task.labels}' are missing; write an empty list for none")
        else:
            expected = "a list of labels" if task.separator is None else f"labels with '{task.separator}' between them"
            raise DataError(f"{place}: column '{task.labels}' holds {value!r:.60}; expected {expected}")
        if "" in parts:
            raise DataError(
                f"{place}: a label in column '{task.labels}' is empty; a separator stands between two labels"
            )
        found.append(parts)
    return found


_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


def _flags(where: str, values: Values) -> "np.ndarray":  # type: ignore[name-defined]  # noqa: F821
    import numpy as np

    columns = []
    for name, found in values.items():
        numbers = [_FLAGS.get(str(value).strip().lower()) for value in found]
        if None in numbers:
            row = numbers.index(None)
            raise DataError(f"{where}, row {row + 1}: column '{name}' holds {found[row]!r:.60}; expected 0 or 1")
        columns.append(numbers)
    return np.array(columns, np.float64).T
