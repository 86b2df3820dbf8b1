"""Where the images of a stream are: a folder per class, parquet files, or a data set of the hub; all become tables."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName
from plora.streams.hub_set import HubSet, hub_tables

if TYPE_CHECKING:
    from plora.streams.source import Source


@dataclass(frozen=True)
class ImageTables:
    """Tables of images, and what their columns are called.

    Args:
        sources: a table for each split that there is.
        image, label: columns.
        domain, split: columns; None where there is none.
        label_names: in their natural order, or a file of them; None: as the table declares them, or else sorted.
        provenance: where they came from; empty where their content says all.
    """

    sources: Mapping[SplitName, "Source"]
    image: str
    label: str
    domain: str | None
    split: str | None
    label_names: tuple[str, ...] | str | None
    provenance: Mapping[str, str]


class ImageColumns(BaseModel):
    """Which columns of a table are image, label and domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str = Field(default="image", min_length=1)
    """The column with the images: bytes, or a struct of `bytes` and `path`, as the hub writes it."""

    label: str = Field(default="label", min_length=1)
    """The column with the class: names, or integers from 0."""

    label_names: tuple[str, ...] | str | None = None
    """The classes in their natural order: a list, or a text file, one name a line. None: what the file itself
    declares (parquet from the hub), else the labels found, sorted."""

    domain: str | None = None
    """The column with the domain, for `by: domains`."""


class FolderImages(BaseModel):
    """A folder per class, `root/<class>/…`, or one per split and class, `root/train/<class>/…`.

    Whatever lies in or below the folder of a class is an image of it, but for what begins with a dot.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["folder"] = "folder"

    root: Path
    """Folder with the folders of the classes, or with `train`, and where they are given `validation` and `test`."""

    domains: bool = False
    """`root` has a folder for each domain, and each of them is such a folder."""

    @property
    def has_domains(self) -> bool:
        """Whether each image is of a domain."""
        return self.domains

    def tables(self) -> ImageTables:
        """List the files; none is opened.

        Raises:
            DataError: there is no such folder, or something in it is not where it is expected.
        """
        import pyarrow as pa

        from plora.streams.image_column import FILE
        from plora.streams.source import Source

        found: dict[SplitName, list[tuple[str, str, str]]] = {}
        classes: set[str] = set()
        for domain in _folders(self.root) if self.domains else [self.root]:
            for split, place in _splits(domain):
                rows = found.setdefault(split, [])
                for folder in _folders(place):
                    classes.add(folder.name)
                    rows += [(str(file), folder.name, domain.name) for file in _files(folder, self.root)]
        columns = [FILE, "label", "domain"]
        sources = {
            split: Source(
                pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(columns)}),
                f"folder '{self.root}' ({split})",
            )
            for split, rows in found.items()
        }
        numbers = all(name.isdecimal() for name in classes)
        names = tuple(sorted(classes, key=lambda name: (int(name), name)) if numbers else sorted(classes))
        return ImageTables(sources, FILE, "label", "domain" if self.domains else None, None, names, {})


class ParquetImages(ImageColumns):
    """Parquet files of images, which are held in memory as they are encoded."""

    kind: Literal["parquet"] = "parquet"

    train: Path | tuple[Path, ...]
    """File with the training images, several, or a folder of some."""

    validation: Path | tuple[Path, ...] | None = None
    """Those with the validation images; None: cut from train."""

    test: Path | tuple[Path, ...] | None = None
    """Those with the test images; None: cut from train."""

    split: str | None = None
    """A column of `train` that says of each image whether it is for `train`, `validation` or `test`."""

    @property
    def has_domains(self) -> bool:
        """Whether each image is of a domain."""
        return self.domain is not None

    def tables(self) -> ImageTables:
        """Read the files.

        Raises:
            DataError: a file is not there, is damaged, or has no such column.
        """
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        sources = {split: self._table(paths) for split in SPLITS if (paths := given[split]) is not None}
        return ImageTables(sources, self.image, self.label, self.domain, self.split, self.label_names, {})

    def _table(self, given: Path | tuple[Path, ...]) -> "Source":
        import pyarrow as pa

        from plora.streams.readers import read_source
        from plora.streams.source import Source

        paths = [given] if isinstance(given, Path) else list(given)
        if len(paths) == 1 and paths[0].is_dir():
            folder = paths[0]
            paths = sorted(folder.glob("*.parquet"))
            if not paths:
                raise DataError(f"folder '{folder}' has no .parquet file; name one that has, or set data.kind: folder")
        columns = [name for name in (self.image, self.label, self.domain, self.split) if name is not None]
        if other := [path for path in paths if path.suffix.lower() != ".parquet"]:
            raise DataError(f"'{other[0]}' is no parquet file; images stand in .parquet files, or in a folder of them")
        found = [read_source(path, columns) for path in paths]
        if len(found) == 1:
            return found[0]
        where = f"{found[0].where} and {len(found) - 1} more"
        try:
            return Source(pa.concat_tables([source.table for source in found]), where)
        except pa.ArrowInvalid as error:
            raise DataError(f"{where}: the files have not the same columns: {str(error).splitlines()[0]}") from None


class HubImages(HubSet, ImageColumns):
    """A data set of the hub as parquet, mapped into memory: it may be larger than that. Needs the extra `hub`.

    Without a connection, put a copy of it (the repository's folder: its README.md and its parquet files) into
    `<root>/<id>/`.
    """

    kind: Literal["hub"] = "hub"

    root: Path | None = None
    """Folder with local copies, `<root>/<id>/` each in the hub's own layout; None: download."""

    cache: Path | None = None
    """Folder in which `datasets` keeps what it downloads and converts; None: its own default."""

    @property
    def has_domains(self) -> bool:
        """Whether each image is of a domain."""
        return self.domain is not None

    def tables(self) -> ImageTables:
        """Download the data set, or read its copy.

        Raises:
            DataError: it cannot be loaded, or has no such split.
        """
        sources = hub_tables(self, self.root, self.cache)
        name = "@".join(part for part in (self.id, self.config, self.revision) if part)
        provenance = {"images": name}
        return ImageTables(sources, self.image, self.label, self.domain, None, self.label_names, provenance)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, by name."""
    if not folder.is_dir():
        raise DataError(f"there is no folder '{folder}'; paths are relative to the folder in which plora is started")
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise DataError(f"folder '{folder}' has no folders in it; expected one for each class")
    return found


def _splits(folder: Path) -> Iterator[tuple[SplitName, Path]]:
    """The splits of a folder; where it has no `train`, all that is in it is for training, and the others are cut."""
    names = {entry.name: entry for entry in _folders(folder)}
    if "train" not in names:
        yield "train", folder
        return
    if strange := sorted(set(names) - set(SPLITS)):
        raise DataError(
            f"folder '{folder}' has a folder '{strange[0]}' beside 'train'; beside it, 'validation' and 'test' are "
            "expected, and the classes within them"
        )
    for split in SPLITS:
        if split in names:
            yield split, names[split]


def _files(folder: Path, root: Path) -> Iterator[Path]:
    """The files in and below the folder of a class."""
    inside = root.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(place, name) for name in (*folders, *sorted(names)) if not name.startswith(".")):
            # A folder may come from elsewhere: a link in it must not bring in, unseen, what lies outside.
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise DataError(f"'{path}' is a link out of '{root}'; put the file itself there")
            try:
                str(path).encode()
            except UnicodeEncodeError:
                raise DataError(f"{os.fsencode(path)!r} has a name that is not UTF-8; rename it") from None
            if path.is_file():
                yield path
            elif not path.is_dir():  # a pipe or a device would be waited for, or never end
                raise DataError(f"'{path}' is neither a file nor a folder; take it away")
