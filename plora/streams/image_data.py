"""Where the images of a stream are: a folder per class, parquet files, or a data set of the hub; all become tables."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

    Whatever lies in or below the folder of a class is an image of it, but for what begins with a dot or is the system's
    (`__MACOSX`, `Thumbs.db`), which is counted.
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

        from plora.streams.class_folders import files_below
        from plora.streams.image_column import FILE
        from plora.streams.label_text import clean_label
        from plora.streams.source import Source

        found: dict[SplitName, list[tuple[str, str, str]]] = {}
        left_out: dict[SplitName, Counter[str]] = {}
        classes: set[str] = set()
        above: Counter[str] = Counter()
        for domain in _folders(self.root, above) if self.domains else [self.root]:
            for split, place in _splits(domain, above):
                rows, lost = found.setdefault(split, []), left_out.setdefault(split, Counter())
                for folder in _folders(place, lost):
                    classes.add(clean_label(folder.name))
                    rows += [(str(file), folder.name, domain.name) for file in files_below(folder, self.root, lost)]
        left_out.setdefault("train", Counter()).update(above)
        columns = [FILE, "label", "domain"]
        sources = {
            split: Source(
                pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(columns)}),
                f"folder '{self.root}' ({split})",
                left_out[split],
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
        columns = [name for name in (self.image, self.label, self.domain, self.split) if name is not None]
        sources = {split: parquet_source(paths, columns) for split in SPLITS if (paths := given[split]) is not None}
        return ImageTables(sources, self.image, self.label, self.domain, self.split, self.label_names, {})


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


def parquet_source(given: Path | tuple[Path, ...], columns: Sequence[str]) -> "Source":
    """Read a parquet file of images, several, or a folder of some, as one table.

    Args:
        given: the file, the files or the folder.
        columns: that are used.

    Raises:
        DataError: a file is not there, is damaged, or has no such column.
    """
    import pyarrow as pa

    from plora.streams.class_folders import entries, has_ending
    from plora.streams.readers import read_source
    from plora.streams.source import Source

    left_out: Counter[str] = Counter()
    paths = [given] if isinstance(given, Path) else list(given)
    if len(paths) == 1 and paths[0].is_dir():
        folder = paths[0]
        inside = list(entries(folder, left_out))
        paths = [path for path in inside if has_ending(path, ".parquet")]
        left_out["files that do not end in .parquet"] = len(inside) - len(paths)
        if not paths:
            raise DataError(f"folder '{folder}' has no .parquet file; name one that has, or set another data.kind")
    if other := [path for path in paths if path.suffix.lower() != ".parquet"]:
        raise DataError(f"'{other[0]}' is no parquet file; images stand in .parquet files, or in a folder of them")
    found = [read_source(path, columns) for path in paths]
    if len(found) == 1:
        return replace(found[0], left_out=left_out)
    where = f"{found[0].where} and {len(found) - 1} more"
    for further in found[1:]:
        for name in columns:
            _same_names(found[0], further, name)
    try:
        return Source(pa.concat_tables([source.table for source in found]), where, left_out)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: the files have not the same columns: {str(error).splitlines()[0]}") from None


def split_of_rows(source: "Source", column: str) -> list[SplitName]:
    """Return for which split each row of a table is, as a column says.

    Raises:
        DataError: it says something else.
    """
    from plora.streams.source import column_of

    found: list[SplitName] = column_of(source, column).to_pylist()
    for row, split in enumerate(found):
        if split not in SPLITS:
            raise DataError(
                f"{source.where}, row {row + 1}: column '{column}' says {split!r}; expected train, validation or test"
            )
    return found


def _same_names(first: "Source", other: "Source", column: str) -> None:
    """Refuse shards that declare different names: their rows become one table, and a number would mean two classes."""
    from plora.streams.labels import declared_label_names

    one, two = (declared_label_names(source.table.schema, column) for source in (first, other))
    if one != two:
        raise DataError(
            f"{first.where} and {other.where} declare different names for the numbers in column '{column}' "
            f"({', '.join((one or ('none',))[:4])}; {', '.join((two or ('none',))[:4])}); write the same into both"
        )


def _folders(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The folders in a folder, by name; what is no folder is counted."""
    from plora.streams.class_folders import entries

    if not folder.is_dir():
        raise DataError(f"there is no folder '{folder}'; paths are relative to the folder in which plora is started")
    inside = list(entries(folder, left_out))
    found = [entry for entry in inside if entry.is_dir()]
    if not found:
        raise DataError(f"folder '{folder}' has no folders in it; expected one for each class")
    left_out["files beside the folders of the classes"] += len(inside) - len(found)
    return found


_LIKE_SPLITS = {*SPLITS, "training", "val", "valid", "dev", "eval", "testing"}


def _splits(folder: Path, left_out: Counter[str]) -> Iterator[tuple[SplitName, Path]]:
    """The splits of a folder; where it has no `train`, all that is in it is for training, and the others are cut."""
    lost: Counter[str] = Counter()
    names = {entry.name: entry for entry in _folders(folder, lost)}
    if "train" not in names:  # its folders are those of the classes, and whoever reads them counts the rest
        if names and {name.lower() for name in names} <= _LIKE_SPLITS:
            raise DataError(
                f"folder '{folder}' has the folders {', '.join(sorted(names))}, which look like splits and would be "
                f"classes; call them {', '.join(SPLITS)}"
            )
        yield "train", folder
        return
    left_out.update(lost)
    if strange := sorted(set(names) - set(SPLITS)):
        raise DataError(
            f"folder '{folder}' has a folder '{strange[0]}' beside 'train'; beside it, 'validation' and 'test' are "
            "expected, and the classes within them"
        )
    for split in SPLITS:
        if split in names:
            yield split, names[split]
