"""What a user says about a table: its columns, its label names, and how many rows to use."""

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from plora.streams.base import StreamSource


class TableTask(BaseModel):
    """Which columns of a table are the text and the label, and what the labels are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str | tuple[str, ...] = "text"
    """The column with the text; a list of two columns is a pair of texts, unless `join` is given."""

    join: str | None = None
    """Written between the columns of `text` to make one text of them, such as `". "`; nulls are left out."""

    label: str = "label"
    """The column with the label: names, or integers from 0."""

    label_names: tuple[str, ...] | str | None = None
    """The name of each integer label, or the order of the names: a list, or a text file, one name a line.
    None: what the file itself declares (parquet from the hub), else the labels found, sorted."""

    map: dict[str | int, str | int | None] | None = None
    """Label found → label wanted, for example five stars to two polarities; null drops the rows. Every label
    that is found must be named. The labels wanted get their ids in the order in which they stand here."""

    @field_validator("text")
    @classmethod
    def _some_columns(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not columns or (not isinstance(columns, str) and len(set(columns)) != len(columns)):
            raise ValueError(f"text must name one column or several different ones, got {columns!r}")
        return columns

    @field_validator("map", "label_names", mode="before")
    @classmethod
    def _labels_as_written(cls, given: object) -> object:
        # As integers they would be labels 1 and 0, which nobody wrote.
        values = [*given, *given.values()] if isinstance(given, dict) else given
        if isinstance(values, list | tuple) and any(isinstance(value, bool) for value in values):
            raise ValueError(
                "a label is True or False, as YAML reads yes, no, on, off, true and false; write it in quotes: 'yes'"
            )
        return given

    @model_validator(mode="after")
    def _pair_or_join(self) -> "TableTask":
        if self.join is None and len(self.text_columns) > 2:
            raise ValueError(
                f"text has {len(self.text_columns)} columns; a pair has two, several make one text with join:"
            )
        return self

    @property
    def is_pair(self) -> bool:
        """Whether an input is a pair of texts."""
        return self.join is None and len(self.text_columns) == 2

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns of the text, at least one."""
        return (self.text,) if isinstance(self.text, str) else self.text


class TableSource(StreamSource):
    """What streams of tables have in common: sizes, and how the missing splits are cut."""

    name: str = Field(min_length=1)
    """Name of the stream, shown in reports."""

    distinct_labels: bool = False
    """Write the task's name before each label (`yelp: 1 star`), so that tasks with the same labels can be
    learned class-incrementally."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training rows of each class (of train_per_class, where that is less) that becomes validation,
    where neither validation data nor validation_per_class is given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows of each class that becomes test, where neither test data nor test_per_class is given."""

    train_per_class: int | None = Field(default=None, ge=1)
    """At most so many training rows per class (validation is cut beside them); None: all."""

    validation_per_class: int | None = Field(default=None, ge=1)
    """At most so many validation rows per class (cut from train: at most half of a class);
    None: all, or the fraction."""

    test_per_class: int | None = Field(default=None, ge=1)
    """At most so many test rows per class (cut from train: at most half of a class); None: all, or the fraction."""
