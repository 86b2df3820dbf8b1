"""Where images and their masks are: pairs of folders, layouts of known sets, parquet files, a data set of the hub."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName
from plora.streams.class_map import ClassMap, Id, MapClasses
from plora.streams.hub_set import HubSet, hub_tables
from plora.streams.image_data import parquet_source, split_of_rows
from plora.streams.labelled_images import IGNORED
from plora.streams.pair_files import OTHER_FILES, Domains, PairFiles, domain_of, pair_files

if TYPE_CHECKING:
    from plora.streams.image_column import ImageColumn
    from plora.streams.source import Source

_ROAD_ANOMALY_MASK = "labels_semantic"


@dataclass(frozen=True)
class Pairs:
    """Images and their masks side by side.

    Args:
        images, masks: `[N]` each.
        domains: `[N]` names; empty ones where images are of none.
        splits: `[N]` for which split each pair is.
    """

    images: "ImageColumn"
    masks: "ImageColumn"
    domains: NDArray[np.str_]
    splits: NDArray[np.str_]


@dataclass(frozen=True)
class FoundPairs:
    """All pairs of a set, and what else was there.

    Args:
        parts: the pairs, by file or table.
        classes: what their masks mean.
        alone: files that lack their partner, in words.
        left_out: how many files or rows were not read, by reason.
        provenance: where they came from; empty where their content says all.
    """

    parts: tuple[Pairs, ...]
    classes: ClassMap
    alone: tuple[str, ...] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    provenance: Mapping[str, str] = field(default_factory=dict)


class PairFolders(BaseModel):
    """A folder of images and one of their masks, `images/a/x.jpg` and `masks/a/x.png`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    """Folder with the images; in folders below it too."""

    masks: Path
    """Folder with a mask for each, of the same name but for its ending."""


class FolderPairs(MapClasses):
    """Folders of images and of masks."""

    kind: Literal["folders"] = "folders"

    train: PairFolders
    """The training images and their masks."""

    validation: PairFolders | None = None
    """Those for validation; None: cut from train."""

    test: PairFolders | None = None
    """Those for test; None: cut from train."""

    domains: Domains | None = None
    """Each image is of a domain: `folder`, the first one below `images`; `sequence`, what stands before the first `_`
    of its name. Each domain is a task; None: all are one task."""

    def pairs(self) -> FoundPairs:
        """List the files; none is opened.

        Raises:
            DataError: there is no such folder, or something in it is not as expected.
        """
        left_out: Counter[str] = Counter()
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        found = {
            split: pair_files(folders.images, folders.masks, left_out)
            for split in SPLITS
            if (folders := given[split]) is not None
        }
        return _of_files(found, self.class_map(), self.domains, left_out)


class CityscapesPairs(BaseModel):
    """Cityscapes as it is downloaded: `leftImg8bit/<split>/<city>/…` and `gtFine/<split>/<city>/…_labelIds.png`.

    Its 19 classes; the masks of its own test set are hidden, so that its `val` is the test set here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cityscapes"] = "cityscapes"

    root: Path
    """Folder with `leftImg8bit` and `gtFine`."""

    train: str = Field(default="train", min_length=1)
    """Folder of the training images."""

    validation: str | None = None
    """Folder of those for validation; None: cut from train."""

    test: str | None = "val"
    """Folder of those for test; None: cut from train."""

    domains: Domains | None = None
    """`folder`: each city is a task, which needs `cut`; None: all are one task."""

    cut: bool = False
    """All images are put together, and validation and test are cut from them."""

    def pairs(self) -> FoundPairs:
        """List the files; none is opened.

        Raises:
            DataError: there is no such folder, or something in it is not as expected.
        """
        from plora.streams.street_classes import CITYSCAPES

        left_out: Counter[str] = Counter()
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        images, masks = self.root / "leftImg8bit", self.root / "gtFine"
        found = {
            split: pair_files(images / name, masks / name, left_out, "_leftImg8bit", "_gtFine_labelIds")
            for split in SPLITS
            if (name := given[split]) is not None
        }
        return _of_files(found, CITYSCAPES, self.domains, left_out, self.cut)


class CamVidPairs(BaseModel):
    """CamVid in one of two layouts.

    As papers use it, `train`, `val`, `test` and masks of ids in `trainannot`, …; or as it was published,
    `701_StillsRaw_full` and masks of colours in `LabeledApproved_full`, whose validation and test are cut.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["camvid"] = "camvid"

    root: Path
    """Folder with these."""

    classes: Literal[11, 32] = 11
    """The 11 classes of papers, or the 32 of its makers, of which Void is ignored; only masks of colours have them."""

    domains: Domains | None = None
    """`sequence`: each video is a task, which needs `cut` (no video is in all splits); None: all are one task."""

    cut: bool = False
    """All images are put together, and validation and test are cut from them by chance: frames of one video that
    follow each other may then stand in two splits."""

    def pairs(self) -> FoundPairs:
        """List the files; none is opened.

        Raises:
            DataError: there is no such folder, or something in it is not as expected.
        """
        from plora.streams.street_classes import CAMVID_COLOURS, CAMVID_IDS

        left_out: Counter[str] = Counter()
        coloured = self.root / "LabeledApproved_full"
        if coloured.is_dir():
            every = pair_files(self.root / "701_StillsRaw_full", coloured, left_out, "", "_L")
            return _of_files({"train": every}, CAMVID_COLOURS[self.classes], self.domains, left_out)
        if not (self.root / "trainannot").is_dir():
            raise DataError(
                f"'{self.root}' has neither a folder 'trainannot' nor 'LabeledApproved_full'; expected CamVid with "
                "train, trainannot, val, …, or with 701_StillsRaw_full and LabeledApproved_full"
            )
        if self.classes != len(CAMVID_IDS.names):
            raise DataError(
                f"data.classes: {self.classes}, and the masks in '{self.root / 'trainannot'}' hold ids of 11 classes; "
                "set classes: 11, or give the copy with LabeledApproved_full"
            )
        names: dict[SplitName, str] = {"train": "train", "validation": "val", "test": "test"}
        found = {
            split: pair_files(self.root / name, self.root / f"{name}annot", left_out) for split, name in names.items()
        }
        return _of_files(found, CAMVID_IDS, self.domains, left_out, self.cut)


class RoadAnomalyPairs(BaseModel):
    """Street scenes with what should not be there: which pixels are outliers, and of no other is the class known.

    As RoadAnomaly was published, `frames/x.jpg` and `frames/x.labels/labels_semantic.png`; or as the later benchmark
    has it, `images/x.jpg` and `labels_masks/x_labels_semantic.png`.

    Source: Lis et al. 2019 (arXiv 1904.07595); Chan et al. 2021 (arXiv 2104.14812).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["road_anomaly"] = "road_anomaly"

    root: Path
    """Folder with `frames`, or with `images` and `labels_masks`."""

    inlier: tuple[Id, ...] = (0,)
    """Ids of what is no outlier."""

    outlier: tuple[Id, ...] = (1, 2)
    """Ids of outliers: 2 as it was published, 1 in the later benchmark."""

    ignore: tuple[Id, ...] = (IGNORED,)
    """Ids of pixels that count in nothing."""

    @model_validator(mode="after")
    def _each_id_means_one_thing(self) -> Self:
        every = Counter((*self.inlier, *self.outlier, *self.ignore))
        if twice := [one for one, count in every.items() if count > 1]:
            raise ValueError(f"{twice[0]} stands there more than once; an id means one thing")
        if not self.outlier:
            raise ValueError("outlier: no id is one of outliers, and there would be nothing to score")
        return self

    def pairs(self, names: tuple[str, ...]) -> FoundPairs:
        """List the files; none is opened. All pairs are for test.

        Args:
            names: of the classes of the stream, of which no pixel has one here.

        Raises:
            DataError: there is no such folder, or something in it is not as expected.
        """
        left_out: Counter[str] = Counter()
        if (self.root / "frames").is_dir():
            found = _frames(self.root / "frames", left_out)
        else:
            found = pair_files(self.root / "images", self.root / "labels_masks", left_out, "", f"_{_ROAD_ANOMALY_MASK}")
        classes = ClassMap(names, tuple(() for _ in names), self.ignore, self.outlier, self.inlier)
        return _of_files({"test": found}, classes, None, left_out)


class PairColumns(MapClasses):
    """Which columns of a table are image, mask and domain."""

    image: str = Field(default="image", min_length=1)
    """The column with the images: bytes, or a struct of `bytes` and `path`, as the hub writes it."""

    mask: str = Field(default="mask", min_length=1)
    """The column with the masks, of the same kind."""

    domain: str | None = None
    """The column with the domain; each domain is a task. None: all are one task."""


class ParquetPairs(PairColumns):
    """Parquet files with images and masks, which are held in memory as they are encoded."""

    kind: Literal["parquet"] = "parquet"

    train: Path | tuple[Path, ...]
    """File with the training images, several, or a folder of some."""

    validation: Path | tuple[Path, ...] | None = None
    """Those for validation; None: cut from train."""

    test: Path | tuple[Path, ...] | None = None
    """Those for test; None: cut from train."""

    split: str | None = None
    """A column of `train` that says of each image whether it is for `train`, `validation` or `test`."""

    def pairs(self) -> FoundPairs:
        """Read the files.

        Raises:
            DataError: a file is not there, is damaged, or has no such column.
        """
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        columns = [name for name in (self.image, self.mask, self.domain, self.split) if name is not None]
        sources = {split: parquet_source(paths, columns) for split in SPLITS if (paths := given[split]) is not None}
        return _of_tables(sources, self, self.split, {})


class HubPairs(HubSet, PairColumns):
    """A data set of the hub with an image and a mask column, mapped into memory. Needs the extra `hub`.

    Without a connection, put a copy of it (the repository's folder: its README.md and its parquet files) into
    `<root>/<id>/`.
    """

    kind: Literal["hub"] = "hub"

    root: Path | None = None
    """Folder with local copies, `<root>/<id>/` each in the hub's own layout; None: download."""

    cache: Path | None = None
    """Folder in which `datasets` keeps what it downloads and converts; None: its own default."""

    def pairs(self) -> FoundPairs:
        """Download the data set, or read its copy.

        Raises:
            DataError: it cannot be loaded, or has no such split or column.
        """
        name = "@".join(part for part in (self.id, self.config, self.revision) if part)
        return _of_tables(hub_tables(self, self.root, self.cache), self, None, {"images": name})


def _of_files(
    found: Mapping[SplitName, PairFiles],
    classes: ClassMap,
    domains: Domains | None,
    left_out: Counter[str],
    cut: bool = False,
) -> FoundPairs:
    import pyarrow as pa

    from plora.streams.image_column import ImageColumn

    rows = [
        (*map(str, paths), domain_of(name, domains), "train" if cut else split)
        for split, files in found.items()
        for name, paths in files.pairs.items()
    ]
    images, masks = (
        ImageColumn(pa.chunked_array([pa.array([row[at] for row in rows], pa.string())]), "folders", in_files=True)
        for at in (0, 1)
    )
    alone = [f"{path} has no mask" for files in found.values() for path in files.alone]
    alone += [f"{path} has no image" for files in found.values() for path in files.unused]
    pairs = Pairs(images, masks, *(np.array([row[at] for row in rows], np.str_) for at in (2, 3)))
    return FoundPairs((pairs,), classes, tuple(alone), left_out)


def _of_tables(
    sources: Mapping[SplitName, "Source"], columns: PairColumns, split: str | None, provenance: Mapping[str, str]
) -> FoundPairs:
    from plora.streams.columns import TableTask
    from plora.streams.image_column import ImageColumn
    from plora.streams.labels import label_ids, label_values

    tables = list(sources.values())
    domains = [np.full(source.table.num_rows, "") for source in tables]
    if columns.domain is not None:
        as_labels = TableTask(label=columns.domain)
        found = [label_values(source, as_labels) for source in tables]
        names, numbers = label_ids("domains", as_labels, tables, found)
        domains = [np.array(names, np.str_)[own] for own in numbers]
    left_out: Counter[str] = Counter()
    parts = []
    for (given, source), own in zip(sources.items(), domains, strict=True):
        left_out.update(source.left_out)
        said = split_of_rows(source, split) if split is not None and given == "train" else [given] * len(own)
        images, masks = (ImageColumn.of(source, column) for column in (columns.image, columns.mask))
        parts.append(Pairs(images, masks, own, np.array(said, np.str_)))
    return FoundPairs(tuple(parts), columns.class_map(), (), left_out, provenance)


def _frames(folder: Path, left_out: Counter[str]) -> PairFiles:
    """The frames of RoadAnomaly; the mask of each stands in a folder of its own."""
    from plora.streams.class_folders import files_below

    masks: dict[str, Path] = {}
    images: dict[str, Path] = {}
    for path in files_below(folder, folder, left_out):
        if path.parent == folder:
            images[path.stem] = path
        elif path.stem == _ROAD_ANOMALY_MASK and path.parent.suffix == ".labels":
            masks[path.parent.stem] = path
        else:
            left_out[OTHER_FILES] += 1
    return PairFiles(
        {name: (path, masks[name]) for name, path in images.items() if name in masks},
        _without(images, masks),
        _without(masks, images),
    )


def _without(files: Mapping[str, Path], others: Iterable[str]) -> tuple[Path, ...]:
    known = set(others)
    return tuple(path for name, path in files.items() if name not in known)
