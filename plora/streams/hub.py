"""A stream from data sets of the Hugging Face hub by id: downloaded, or local copies in the hub's layout."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from plora.errors import did_you_mean
from plora.streams.base import Stream, Task
from plora.streams.columns import TableSource, TableTask
from plora.streams.hub_set import HubSet, hub_tables


class HubTask(HubSet, TableTask):
    """One task from a data set of the hub; label names come from its own ClassLabel column unless given."""

    name: str = Field(min_length=1)
    """Name of the task, unique in the stream."""


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
        from plora.streams.label_text import alike_note
        from plora.streams.row_count import RowCount, row_notes
        from plora.streams.table import task_from_tables

        tasks: list[Task] = []
        provenance: dict[str, str] = {}
        rows: dict[str, RowCount] = {}
        for task in self.tasks:
            tables = hub_tables(task, self.root, self.cache)
            made, counts = task_from_tables(
                task.name, task, self, tables["train"], tables.get("validation"), tables.get("test")
            )
            tasks.append(made)
            rows |= {f"{task.name}.{split}": count for split, count in counts.items()}
            provenance[task.name] = "@".join(part for part in (task.id, task.config, task.revision) if part)
        notes = {**row_notes(rows), **alike_note(label for made in tasks for label in made.label_names)}
        return Stream(name=self.name, tasks=tuple(tasks), provenance=provenance, notes=notes, rows=rows)


def _known(name: str) -> HubTask:
    if name not in HUB_TASKS:
        raise ValueError(
            f"'{name}' is not a known data set ({', '.join(HUB_TASKS)}){did_you_mean(name, HUB_TASKS)}; "
            "any other is given as {name: …, id: owner/name, text: …, label: …}"
        )
    return HUB_TASKS[name]
