"""A stream from data sets of the Hugging Face hub by id: downloaded, or local copies in the hub's layout."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from plora.errors import DataError, did_you_mean
from plora.streams.base import SplitName, Stream
from plora.streams.columns import TableSource, TableTask

if TYPE_CHECKING:
    from datasets import DatasetDict

    from plora.streams.source import Source


class HubTask(TableTask):
    """One task from a data set of the hub; label names come from its own ClassLabel column unless given."""

    name: str = Field(min_length=1)
    """Name of the task, unique in the stream."""

    id: str = Field(min_length=1)
    """Id of the data set, such as `fancyzhx/ag_news`."""

    config: str | None = None
    """Configuration of the data set (also called subset); None: its default."""

    revision: str | None = None
    """Branch, tag or commit; None: the newest. A commit makes a run repeatable."""

    train: str = "train"
    """Name of the split to train on."""

    validation: str | None = None
    """Name of the split for validation; None: cut from train."""

    test: str | None = "test"
    """Name of the split to test on; None: cut from train."""

    @field_validator("id")
    @classmethod
    def _is_an_id(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
            raise ValueError("an id on the hub was expected, owner/name; files on this machine are kind: local")
        return name


_STARS: dict[str | int, str | int | None] = {
    1: "1 star",
    2: "2 stars",
    3: "3 stars",
    4: "4 stars",
    5: "5 stars",
}

HUB_TASKS: dict[str, HubTask] = {
    task.name: task
    for task in (
        HubTask(name="ag_news", id="fancyzhx/ag_news"),
        HubTask(
            name="yelp",
            id="Yelp/yelp_review_full",
            label_names=tuple(str(stars) for stars in range(1, 6)),  # the hub's own names mix "2 star" and "3 stars"
            map=_STARS,
        ),
        HubTask(
            name="yelp_polarity",
            id="fancyzhx/yelp_polarity",
            label_names=("negative", "positive"),  # the hub's own names are "1" and "2"
        ),
        HubTask(
            name="amazon",
            id="yassiracharki/Amazon_Reviews_for_Sentiment_Analysis_fine_grained_5_classes",
            text=("review_title", "review_text"),
            join=". ",
            label="class_index",
            map=_STARS,
        ),
        HubTask(
            name="amazon_polarity",
            id="fancyzhx/amazon_polarity",
            text=("title", "content"),
            join=". ",
        ),
        HubTask(name="imdb", id="stanfordnlp/imdb", label_names=("negative", "positive")),  # the hub's: "neg", "pos"
        HubTask(name="sst2", id="stanfordnlp/sst2", text="sentence", test="validation"),  # its test split has no labels
        HubTask(name="dbpedia", id="fancyzhx/dbpedia_14", text=("title", "content"), join=". "),
        HubTask(
            name="yahoo",
            id="community-datasets/yahoo_answers_topics",
            text=("question_title", "question_content", "best_answer"),
            join=" ",
            label="topic",
        ),
    )
}
"""Known data sets by short name. `yelp` and `amazon` are the forms with one to five stars, `yelp_polarity`
and `amazon_polarity` those with two classes (no three-star reviews), which make a domain-incremental stream with `imdb`
and `sst2`."""


class HubStream(TableSource):
    """Tasks from data sets of the Hugging Face hub, in the order in which they are listed.

    Needs the extra `hub`. Without a connection, put copies of the data sets (the repository's folder: its
    README.md and its parquet files) into `<root>/<id>/`.
    """

    kind: Literal["hub"] = "hub"

    name: str = Field(default="hub", min_length=1)
    """Name of the stream, shown in reports."""

    tasks: tuple[HubTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are learned; a short name of `HUB_TASKS` stands for its task."""

    root: Path | None = None
    """Folder with local copies, `<root>/<id>/` each in the hub's own layout; None: download."""

    cache: Path | None = None
    """Folder in which `datasets` keeps what it downloads and converts; None: its own default."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _known_names(cls, tasks: object) -> object:
        if not isinstance(tasks, list | tuple):
            return tasks
        return tuple(_known(task) if isinstance(task, str) else task for task in tasks)

    def load(self) -> Stream:
        """Download (or read) the data sets and cut the splits that are missing.

        Raises:
            DataError: `datasets` is not installed, or a data set, split, column or label cannot be used; says
                what to download and where to put it.
        """
        from plora.streams.table import task_from_tables

        tasks = []
        provenance: dict[str, str] = {}
        for task in self.tasks:
            tables = _tables(task, self.root, self.cache)
            tasks.append(
                task_from_tables(task.name, task, self, tables["train"], tables.get("validation"), tables.get("test"))
            )
            provenance[task.name] = "@".join(part for part in (task.id, task.config, task.revision) if part)
        return Stream(name=self.name, tasks=tuple(tasks), provenance=provenance)


def _known(name: str) -> HubTask:
    if name not in HUB_TASKS:
        raise ValueError(
            f"'{name}' is not a known data set ({', '.join(HUB_TASKS)}){did_you_mean(name, HUB_TASKS)}; "
            "any other is given as {name: …, id: owner/name, text: …, label: …}"
        )
    return HUB_TASKS[name]


def _tables(task: HubTask, root: Path | None, cache: Path | None) -> Mapping[SplitName, "Source"]:
    from plora.streams.source import Source

    data = _load_dataset(task, root, cache)
    wanted: dict[SplitName, str | None] = {
        "train": task.train,
        "validation": task.validation,
        "test": task.test,
    }
    tables: dict[SplitName, Source] = {}
    for split, name in wanted.items():
        if name is None:
            continue
        if name not in data:
            raise DataError(
                f"'{task.id}' has no split '{name}'; its splits are: {', '.join(data)}"
                f"{did_you_mean(name, data)} (null for validation or test cuts it from train)"
            )
        # The features know the names of a ClassLabel; in the schema they look like a parquet file's own.
        metadata = data[name].features.arrow_schema.metadata
        table = data[name].data.table.replace_schema_metadata(metadata)
        tables[split] = Source(table, f"'{task.id}' ({name})")
    return tables


def _load_dataset(task: HubTask, root: Path | None, cache: Path | None) -> "DatasetDict":
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"task '{task.name}' needs the package 'datasets', which is not installed; "
            'install it with: pip install "plora[hub]"'
        ) from error
    folder = None if root is None else root / task.id
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"there is no local copy of '{task.id}' in '{folder}'; download the data set's repository "
            "(README.md and parquet files) into that folder, or leave out root to download it now"
        )
    try:
        builder = datasets.load_dataset_builder(
            str(folder or task.id),
            task.config,
            revision=task.revision,
            cache_dir=None if cache is None else str(cache),
        )
        _require_inside(task, folder, (builder.config.data_files or {}).values())
        builder.download_and_prepare()
        return builder.as_dataset()
    except DataError:
        raise
    except Exception as error:  # of many libraries: datasets, the hub's client, the network, the reader of the files
        reason = " ".join(str(error).split())[:300]
        config = "" if task.config is None else f" (config '{task.config}')"
        where = "<root>/" + task.id if folder is None else f"'{folder}'"
        raise DataError(
            f"data set '{task.id}'{config} cannot be loaded: {reason}; check id, config and connection, "
            f"or download its repository (README.md and parquet files) into {where} and set root"
        ) from error


def _require_inside(task: HubTask, folder: Path | None, splits: Iterable[Iterable[object]]) -> None:
    """Refuse a data set whose README names files of this machine, or of another place, as its own."""
    home = f"hf://datasets/{task.id}@" if folder is None else f"{folder.resolve().as_posix()}/"
    for file in (str(file) for files in splits for file in files):
        inner = file.rpartition("::")[2]  # zip://inner.csv::archive.zip
        place = inner if folder is None else os.path.normpath(inner)
        if not place.startswith(home) or ".." in place.split("/"):
            raise DataError(
                f"the README.md of '{task.id}' names the file '{file}', which is not part of the data set; "
                "correct its data_files, or take the files into the data set's folder"
            )
