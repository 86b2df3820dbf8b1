"""A domain of documents: docstrings of a package, files, or a data set of the hub."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from plora.streams.base import SplitName
from plora.streams.documents import Document
from plora.streams.hub_set import HubSet

if TYPE_CHECKING:
    from plora.streams.source import Source


@dataclass(frozen=True)
class DomainTexts:
    """The documents of a domain as they were read.

    Args:
        texts: by split; those that are missing are cut from train.
        left_out: how many files, rows or docstrings were not read, by reason.
        origin: where they come from, in words.
    """

    texts: Mapping[SplitName, list[Document]]
    left_out: Mapping[str, int]
    origin: str


class Domain(BaseModel):
    """Documents of one kind: docstrings of a package, files, or a data set of the hub; exactly one of these.

    - numpy                                              # the docstrings of a package
    - {name: letters, path: letters/}                    # each .txt and .md file is a document
    - {name: news, path: news.jsonl, text: body}         # each row is one
    - {name: wikipedia, hub: {id: owner/name}, text: text}
    - {name: questions, path: asked.jsonl, prompt: "{question} Answer:", answer: " {answer}"}
    - {name: chats, hub: {id: owner/name}, messages: messages}      # of these two, answers alone are learned
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

    prompt: str | None = None
    """Of a table, the column with what is only read, or a text with columns in braces; with `answer`."""

    answer: str | None = None
    """Of a table, the column with what is learned after the prompt, or a text with columns in braces."""

    messages: str | None = None
    """Of JSON lines or parquet, the column with conversations: lists of `role` (system, user or assistant) and
    `content`. What the assistant says is learned, the rest is only read."""

    paragraphs: bool = False
    """What stands between blank lines is a document, instead of the whole text."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in ("docstrings", "path", "hub") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"'{self.name}' has {' and '.join(given) or 'no source'}; expected one of docstrings, path and hub"
            )
        asked = self.prompt is not None, self.answer is not None, self.messages is not None
        if asked not in ((False,) * 3, (True, True, False), (False, False, True)):
            raise ValueError(f"'{self.name}': give both prompt and answer, or messages, or none of them")
        if any(asked):
            others = {"docstrings": self.docstrings is not None, "paragraphs": self.paragraphs}
            if other := [key for key, said in {**others, "text": self.text != "text"}.items() if said]:
                raise ValueError(f"'{self.name}' has answers, which are learned without {other[0]}; leave it out")
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
        from plora.streams.document_files import paragraphs_of
        from plora.streams.hub_set import hub_tables
        from plora.streams.readers import content_hash

        texts: dict[SplitName, list[Document]] = {}
        left_out: Counter[str] = Counter()
        if self.docstrings is not None:
            found, left_out = docstring_documents(self.docstrings)
            texts["train"], origin = [*found], f"docstrings of {self.docstrings} {package_version(self.docstrings)}"
        elif self.path is not None:
            texts["train"], left_out = self._of_path(self.path)
            origin = f"{self.path.name} sha256:{content_hash(self.path)}"
        else:
            assert self.hub is not None
            for split, source in hub_tables(self.hub, root, cache).items():
                texts[split], lost = self._of_table(source)
                left_out += lost
            origin = "@".join(part for part in (self.hub.id, self.hub.config, self.hub.revision) if part)
        if self.paragraphs:
            plain = {split: (text for text in own if isinstance(text, str)) for split, own in texts.items()}
            texts = {split: [*paragraphs_of(own)] for split, own in plain.items()}
        return DomainTexts(texts, left_out, origin)

    def _of_path(self, path: Path) -> tuple[list[Document], Counter[str]]:
        from plora.streams.dialogue_tables import read_asked, read_conversations
        from plora.streams.document_files import read_documents

        if self.messages is not None:
            found, left_out = read_conversations(path, self.messages)
            return [*found], left_out
        if self.prompt is not None and self.answer is not None:
            found, left_out = read_asked(path, self.prompt, self.answer)
            return [*found], left_out
        texts, left_out = read_documents(path, self.text)
        return [*texts], left_out

    def _of_table(self, source: "Source") -> tuple[list[Document], Counter[str]]:
        from plora.streams.dialogue_tables import table_asked, table_conversations
        from plora.streams.document_files import table_documents

        if self.messages is not None:
            found, left_out = table_conversations(source, self.messages)
            return [*found], left_out
        if self.prompt is not None and self.answer is not None:
            found, left_out = table_asked(source, self.prompt, self.answer)
            return [*found], left_out
        texts, left_out = table_documents(source, self.text)
        return [*texts], left_out
