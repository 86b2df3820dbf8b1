"""One data set of the Hugging Face hub: which one, and its splits as tables, downloaded or from a copy."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from plora.errors import DataError, did_you_mean
from plora.streams.base import SplitName

if TYPE_CHECKING:
    from datasets import DatasetDict

    from plora.streams.source import Source


class HubSet(BaseModel):
    """Which data set of the hub, and which of its splits are used for what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
            raise ValueError(
                "an id on the hub was expected, owner/name; files on this machine have a kind of their own"
            )
        return name


def hub_tables(data: HubSet, root: Path | None, cache: Path | None) -> Mapping[SplitName, "Source"]:
    """Download (or read) the splits of a data set as tables, which stay in files and are mapped into memory.

    Args:
        data: which one.
        root: folder with local copies, `<root>/<id>/` each in the hub's own layout; None downloads.
        cache: folder in which `datasets` keeps what it downloads and converts; None for its own default.

    Raises:
        DataError: `datasets` is not installed, or the data set or a split cannot be used; says what to download and
            where to put it.
    """
    from plora.streams.source import Source

    found = _load_dataset(data, root, cache)
    wanted: dict[SplitName, str | None] = {
        "train": data.train,
        "validation": data.validation,
        "test": data.test,
    }
    tables: dict[SplitName, Source] = {}
    for split, name in wanted.items():
        if name is None:
            continue
        if name not in found:
            raise DataError(
                f"'{data.id}' has no split '{name}'; its splits are: {', '.join(found)}"
                f"{did_you_mean(name, found)} (null for validation or test cuts it from train)"
            )
        # The features know the names of a ClassLabel; in the schema they look like a parquet file's own.
        metadata = found[name].features.arrow_schema.metadata
        table = found[name].data.table.replace_schema_metadata(metadata)
        tables[split] = Source(table, f"'{data.id}' ({name})")
    return tables


def _load_dataset(data: HubSet, root: Path | None, cache: Path | None) -> "DatasetDict":
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"data set '{data.id}' needs the package 'datasets', which is not installed; "
            'install it with: pip install "plora[hub]"'
        ) from error
    folder = None if root is None else root / data.id
    if folder is not None and not folder.is_dir():
        raise DataError(
            f"there is no local copy of '{data.id}' in '{folder}'; download the data set's repository "
            "(README.md and parquet files) into that folder, or leave out root to download it now"
        )
    try:
        builder = datasets.load_dataset_builder(
            str(folder or data.id),
            data.config,
            revision=data.revision,
            cache_dir=None if cache is None else str(cache),
        )
        _require_inside(data, folder, (builder.config.data_files or {}).values())
        builder.download_and_prepare()
        return builder.as_dataset()
    except DataError:
        raise
    except Exception as error:  # of many libraries: datasets, the hub's client, the network, the reader of the files
        reason = " ".join(str(error).split())[:300]
        config = "" if data.config is None else f" (config '{data.config}')"
        where = "<root>/" + data.id if folder is None else f"'{folder}'"
        raise DataError(
            f"data set '{data.id}'{config} cannot be loaded: {reason}; check id, config and connection, "
            f"or download its repository (README.md and parquet files) into {where} and set root"
        ) from error


def _require_inside(data: HubSet, folder: Path | None, splits: Iterable[Iterable[object]]) -> None:
    """Refuse a data set whose README names files of this machine, or of another place, as its own."""
    home = f"hf://datasets/{data.id}@" if folder is None else f"{folder.resolve().as_posix()}/"
    for file in (str(file) for files in splits for file in files):
        inner = file.rpartition("::")[2]  # zip://inner.csv::archive.zip
        place = inner if folder is None else os.path.normpath(inner)
        if not place.startswith(home) or ".." in place.split("/"):
            raise DataError(
                f"the README.md of '{data.id}' names the file '{file}', which is not part of the data set; "
                "correct its data_files, or take the files into the data set's folder"
            )
