"""A stream from any set of images: tasks of a few classes each, or of one domain each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from plora.errors import DataError, did_you_mean
from plora.streams.base import SPLITS, SplitName, Stream, Task
from plora.streams.class_order import ArrivingClasses
from plora.streams.image_data import FolderImages, HubImages, ImageTables, ParquetImages, split_of_rows
from plora.streams.image_reading import ImageReading

if TYPE_CHECKING:
    from plora.streams.columns import TableTask
    from plora.streams.row_count import RowCount
    from plora.streams.stored_images import StoredImages

_SHOWN = 5
"""Names in a message or a note before it says how many more there are."""


class PretrainedOn(BaseModel):
    """On what the backbone was pretrained, and which classes of the stream it has seen there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str = Field(min_length=1)
    """Name of the data, such as `ImageNet-21k`."""

    overlap: Literal["all", "none", "unknown"] | tuple[str, ...] = "unknown"
    """Classes of the stream that were among those data: their names, or `all`, `none` or `unknown`."""

    @field_validator("overlap", mode="before")
    @classmethod
    def _names_or_a_word(cls, overlap: object) -> object:
        if isinstance(overlap, str) and overlap not in ("all", "none", "unknown"):
            raise ValueError("a list of classes was expected, or all, none or unknown")
        return overlap


class ImageStream(ArrivingClasses):
    """Images of any set: a folder per class, parquet files or a data set of the hub, by classes or by domains."""

    kind: Literal["images"] = "images"

    name: str = Field(default="images", min_length=1)
    """Name of the stream, shown in reports."""

    data: Annotated[FolderImages | ParquetImages | HubImages, Field(discriminator="kind")]
    """Where the images are: `kind: folder`, `parquet` or `hub`, and its own keys."""

    by: Literal["classes", "domains"] = "classes"
    """`classes`: each task has some of the classes; `domains`: each task is a domain, with the same classes in all."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training images of each class (of train_per_class, where that is less) that becomes validation,
    where neither validation data nor validation_per_class is given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the images of each class that becomes test, where neither test data nor test_per_class is given."""

    split_seed: int = Field(default=0, ge=0)
    """Decides, with the bytes of each image, which ones are cut for validation and test, and kept by a cap."""

    train_per_class: int | None = Field(default=None, ge=1)
    """At most so many training images per class (validation is cut beside them); None: all."""

    validation_per_class: int | None = Field(default=None, ge=1)
    """At most so many validation images per class (cut from train: at most half of a class); None: all, or the
    fraction."""

    test_per_class: int | None = Field(default=None, ge=1)
    """At most so many test images per class (cut from train: at most half of a class); None: all, or the fraction."""

    empty_classes: Literal["refuse", "drop"] = "refuse"
    """A class without images for training or for test, in a domain too: is refused, or left out there."""

    damaged: Literal["refuse", "skip"] = "refuse"
    """Images that are corrupt or truncated: are refused, with their number, or left out, counted and named."""

    reading: ImageReading = ImageReading()
    """How images are decoded: `ground`, `highest`, `colours`, `max_pixels`."""

    pretrained_on: PretrainedOn | None = None
    """On what the backbone was pretrained (`what`), and which classes of the stream were among it (`overlap`); the
    report repeats it."""

    @model_validator(mode="after")
    def _either_classes_or_domains(self) -> Self:
        if self.by == "domains" and not self.data.has_domains:
            raise ValueError(
                "by: domains needs data that say of which domain an image is: data.domains, or data.domain"
            )
        if self.by == "domains" and not self.names_no_classes():
            raise ValueError(
                "init_cls, increment and class_order are of by: classes; a task is a domain here, and `order` of the "
                "config says in which order they come"
            )
        return self

    def load(self) -> Stream:
        """Find the images, cut the splits that are missing, decode every image once, and make the tasks.

        Raises:
            DataError: an image, a class, a column or an order that cannot be used; says which.
        """
        from plora.streams.label_text import alike_note
        from plora.streams.row_count import row_notes

        tables = self.data.tables()
        names, domains = self._domains(tables)
        totals = [_total(domains)]
        domains = {domain: self._cut(domain, splits) for domain, splits in domains.items()}
        totals.append(_total(domains))
        domains, left_out = self._sound(domains)
        totals.append(_total(domains))
        names, domains = self._with_images(names, domains)
        totals.append(_total(domains))
        rows = {"images": _count(tables, totals)}
        notes = {**row_notes(rows), **alike_note(names), **left_out, **self._pretraining(names)}
        if self.by == "domains":
            tasks = [Task(domain, names, **splits) for domain, splits in domains.items()]
            return Stream(self.name, tuple(tasks), ("task", "domain"), tables.provenance, notes, rows)
        (splits,) = domains.values()
        tasks = [
            Task(
                name,
                tuple(names[number] for number in classes),
                **{split: images.of_classes(classes) for split, images in splits.items()},
            )
            for name, classes in self.arriving(names, self.increment)
        ]
        notes = {**self.order_note(names), **notes}
        return Stream(self.name, tuple(tasks), ("task", "class"), tables.provenance, notes, rows)

    def _domains(self, tables: ImageTables) -> tuple[tuple[str, ...], dict[str, dict[SplitName, "StoredImages"]]]:
        """The names of all classes, and the images of each domain by split; of one domain where they are no tasks."""
        from plora.streams.columns import TableTask
        from plora.streams.image_column import ImageColumn
        from plora.streams.stored_images import StoredImages

        columns = [ImageColumn.of(source, tables.image) for source in tables.sources.values()]
        names, labels = _ids(self.name, tables, TableTask(label=tables.label, label_names=tables.label_names))
        domains: tuple[str, ...] = (self.name,)
        domain_of = [np.zeros_like(found) for found in labels]
        if self.by == "domains":
            assert tables.domain is not None
            domains, domain_of = _ids(self.name, tables, TableTask(label=tables.domain))
        found: dict[str, dict[SplitName, StoredImages]] = {domain: {} for domain in domains}
        for place, (given, source) in enumerate(tables.sources.items()):
            rows = np.arange(source.table.num_rows)
            images = StoredImages.of(columns[place], rows, labels[place], self.reading)
            split_of = _split_of(tables, given)
            for number, domain in enumerate(domains):
                for split in SPLITS:
                    chosen = (domain_of[place] == number) & (split_of == split)
                    if chosen.any():
                        if split in found[domain]:
                            raise DataError(f"the {split} images are given twice: by data.{split} and by data.split")
                        found[domain][split] = images.select(chosen)
        return names, found

    def _cut(self, domain: str, given: Mapping[SplitName, "StoredImages"]) -> dict[SplitName, "StoredImages"]:
        """All three splits, within their caps."""
        from plora.streams.held_out import all_splits

        if "train" not in given:
            where = f" of domain '{domain}'" if self.by == "domains" else ""
            raise DataError(f"stream '{self.name}': there are no training images{where}; every task needs some")
        return all_splits(given, self)

    def _sound(
        self, domains: Mapping[str, Mapping[SplitName, "StoredImages"]]
    ) -> tuple[dict[str, dict[SplitName, "StoredImages"]], dict[str, str]]:
        """The images that can be decoded, and a note about the others."""
        kept: dict[str, dict[SplitName, StoredImages]] = {}
        lost: list[tuple[int, str, str]] = []
        total = 0
        for domain, splits in domains.items():
            kept[domain] = {}
            for split, images in splits.items():
                found = images.damaged()
                rows = {place: int(images.rows[place]) for place in found}
                lost += [(rows[place], images.column.name(rows[place]), said) for place, said in found.items()]
                total += len(images)
                kept[domain][split] = images.select(~np.isin(np.arange(len(images)), list(found)))
        if not lost:
            return kept, {}
        lost.sort()
        names = [name for _, name, _ in lost]
        if self.damaged == "refuse":
            others = "" if len(lost) == 1 else f" (so is {_some(names[1:])})"
            raise DataError(
                f"{len(lost)} of {total} images are damaged: {lost[0][2]}{others}; mend them, take them out, or set "
                "damaged: skip"
            )
        return kept, {"images left out as damaged": f"{len(lost)} of {total}: {_some(names)}"}

    def _with_images(
        self, names: tuple[str, ...], domains: Mapping[str, Mapping[SplitName, "StoredImages"]]
    ) -> tuple[tuple[str, ...], dict[str, dict[SplitName, "StoredImages"]]]:
        """The classes that have images, renumbered; a domain that has none of a class has none of it in any split."""
        present: dict[str, set[int]] = {}
        for domain, splits in domains.items():
            of_split = {split: set(splits[split].labels.tolist()) for split in ("train", "test")}
            present[domain] = of_split["train"] & of_split["test"]
            lacking = [name for number, name in enumerate(names) if number not in present[domain]]
            if lacking and self.empty_classes == "refuse":
                split = "test" if names.index(lacking[0]) in of_split["train"] else "train"
                where = f" of domain '{domain}'" if self.by == "domains" else ""
                said = f"class '{lacking[0]}' has no images in {split}{where}"
                if len(lacking) > 1:
                    said = f"{len(lacking)} classes have no images in train or none in test{where}: {_some(lacking)}"
                raise DataError(f"stream '{self.name}': {said}; add some, or set empty_classes: drop")
        kept = sorted(set().union(*present.values()))
        of_domain = {domain: [number for number in kept if number in own] for domain, own in present.items()}
        return tuple(names[number] for number in kept), {
            domain: {split: images.of_classes(kept, of_domain[domain]) for split, images in splits.items()}
            for domain, splits in domains.items()
        }

    def _pretraining(self, names: Sequence[str]) -> dict[str, str]:
        """The note about what the backbone was pretrained on."""
        if self.pretrained_on is None:
            return {"backbone pretrained on": "not said (stream.pretrained_on)"}
        overlap = self.pretrained_on.overlap
        if isinstance(overlap, tuple):
            for name in overlap:
                if name not in names:
                    raise DataError(
                        f"pretrained_on.overlap: stream '{self.name}' has no class '{name}'"
                        f"{did_you_mean(name, names)}; name classes of the stream, or all, none or unknown"
                    )
        said = overlap if isinstance(overlap, str) else f"{len(overlap)} of {len(names)}: {', '.join(overlap)}"
        return {"backbone pretrained on": f"{self.pretrained_on.what}; classes that it knows from there: {said}"}


def _ids(name: str, tables: ImageTables, columns: "TableTask") -> tuple[tuple[str, ...], list[NDArray[np.int64]]]:
    """The names of a column in their order, and their numbers, `[N]` for each table."""
    from plora.streams.labels import label_ids, label_values

    sources = list(tables.sources.values())
    return label_ids(name, columns, sources, [label_values(source, columns) for source in sources])


def _total(domains: Mapping[str, Mapping[SplitName, "StoredImages"]]) -> int:
    return sum(len(images) for splits in domains.values() for images in splits.values())


def _count(tables: ImageTables, totals: Sequence[int]) -> "RowCount":
    """How many images there are, and why some are in no split, of how many are left after each step."""
    from plora.streams.row_count import RowCount

    left_out: Counter[str] = Counter()
    for source in tables.sources.values():
        left_out.update(source.left_out)
    reasons = ("above the caps", "damaged", "of a class that is dropped")
    own = {reason: before - after for reason, before, after in zip(reasons, totals, totals[1:], strict=False)}
    return RowCount(totals[0] + left_out.total(), left_out, own)


def _split_of(tables: ImageTables, given: SplitName) -> NDArray[np.str_]:
    """For which split each image of a table is, `[N]`."""
    source = tables.sources[given]
    if tables.split is None or given != "train":
        return np.full(source.table.num_rows, given)
    return np.array(split_of_rows(source, tables.split))


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
