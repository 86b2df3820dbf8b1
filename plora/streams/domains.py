"""A domain of documents: docstrings of a package, files, or a data set of the hub."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from plora.streams.base import SplitName
from plora.streams.hub_set import HubSet


@dataclass(frozen=True)
class DomainTexts:
    """The documents of a domain as they were read.

    Args:
        texts: by split; those that are missing are cut from train.
        left_out: how many files, rows or docstrings were not read, by reason.
        origin: where they come from, in words.
    """

    texts: Mapping[SplitName, list[str]]
    left_out: Mapping[str, int]
    origin: str


class Domain(BaseModel):
    """Documents of one kind: docstrings of a package, files, or a data set of the hub; exactly one of these.

    - numpy                                              # the docstrings of a package
    - {name: letters, path: letters/}                    # each .txt and .md file is a document
    - {name: news, path: news.jsonl, text: body}         # each row is one
    - {name: wikipedia, hub: {id: owner/name}, text: text}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """Name of the domain, unique in the stream."""

    docstrings: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    """The name by which an installed package is imported, or `stdlib`: its whole docstrings of 100 bytes and more."""

    path: Path | None = None
    """A `.txt` or `.md` file, a folder of some, or JSON lines, CSV, TSV or parquet."""

    hub: HubSet | None = None
    """A data set of the hub; needs the extra `hub`. With `test: null` its test is cut from its train."""

    text: str = "text"
    """Of a table, the column with the texts."""

    paragraphs: bool = False
    """What stands between blank lines is a document, instead of the whole text."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in ("docstrings", "path", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"'{self.name}' has {' and '.join(given) or 'no source'}; expected one of docstrings, path and hub"
            )
        return self

    def read(self, root: Path | None, cache: Path | None) -> DomainTexts:
        """Read all documents.

        Args:
            root: folder with local copies of data sets of the hub; None downloads.
            cache: folder in which `datasets` keeps what it downloads and converts; None for its own default.

        Raises:
            DataError: something is not there, or cannot be read; says what.
        """
        from plora.streams.docstring_documents import docstring_documents, package_version
        from plora.streams.document_files import paragraphs_of, read_documents, table_documents
        from plora.streams.hub_set import hub_tables
        from plora.streams.readers import content_hash

        texts: dict[SplitName, list[str]] = {}
        left_out: Counter[str] = Counter()
        if self.docstrings is not None:
            found, left_out = docstring_documents(self.docstrings)
            texts["train"], origin = [*found], f"docstrings of {self.docstrings} {package_version(self.docstrings)}"
        elif self.path is not None:
            texts["train"], left_out = read_documents(self.path, self.text)
            origin = f"{self.path.name} sha256:{content_hash(self.path)}"
        else:
            assert self.hub is not None
            for split, source in hub_tables(self.hub, root, cache).items():
                texts[split], lost = table_documents(source, self.text)
                left_out += lost
            origin = "@".join(part for part in (self.hub.id, self.hub.config, self.hub.revision) if part)
        if self.paragraphs:
            texts = {split: paragraphs_of(own) for split, own in texts.items()}
        return DomainTexts(texts, left_out, origin)
