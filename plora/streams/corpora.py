"""Streams of documents: what a language model is pretrained on, and the domains that it is adapted to."""

from collections import Counter
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from plora.errors import did_you_mean
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.domains import Domain

Part = Literal["all", "base", "adapt"]
Separation = Literal["domain", "random"]


class Corpora(StreamSource):
    """Documents by domain, as text to continue; for `problem: {kind: causal_lm}`.

    A document is in one split and one part, by the hash of its letters, whatever the order of files; of documents with
    the same letters one is used, that of the base or else of the first domain. What is cut for validation and test has
    no document of which more than half of the runs of eight words stand in training documents of any domain or part.
    """

    kind: Literal["corpora"] = "corpora"

    name: str = Field(default="corpora", min_length=1)
    """Name of the stream, shown in reports."""

    domains: tuple[Domain, ...] = Field(min_length=1)
    """What there is to read; a name alone stands for the docstrings of that package. List all of them in the configs
    of a base and of what is adapted, so that no text is in both."""

    base: tuple[str, ...] = ()
    """Names of the domains that a base is pretrained on."""

    part: Part = "all"
    """`all`: each domain is a task. `base`: the `base_fraction` of the base's domains, as one task. `adapt`: what the
    base never saw, as `split` says."""

    split: Separation = "domain"
    """What `part: adapt` is: each `domain` that is none of the base's, a task; or, as one task, a `random` rest of the
    base's domains: the same text, other documents."""

    base_fraction: float = Field(default=0.8, gt=0, lt=1)
    """Share of the documents of the base's domains that the base is pretrained on."""

    validation_fraction: float = Field(default=0.05, gt=0, lt=0.5)
    """Share of the documents that becomes validation, where a data set brings none of its own."""

    test_fraction: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of the documents that becomes test, where a data set brings none of its own."""

    train_bytes: int | None = Field(default=None, ge=1)
    """So many bytes of training text of each task, in whole documents; a task that has less is refused. None: all."""

    validation_bytes: int | None = Field(default=None, ge=1)
    """As `train_bytes`, of validation."""

    test_bytes: int | None = Field(default=None, ge=1)
    """As `train_bytes`, of test."""

    root: Path | None = None
    """Folder with local copies of data sets of the hub, `<root>/<id>/` each in the hub's own layout; None: download."""

    cache: Path | None = None
    """Folder in which `datasets` keeps what it downloads and converts; None: its own default."""

    @field_validator("domains", mode="before")
    @classmethod
    def _packages(cls, domains: object) -> object:
        if not isinstance(domains, list | tuple):
            return domains
        return tuple({"name": one, "docstrings": one} if isinstance(one, str) else one for one in domains)

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        names = [domain.name for domain in self.domains]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"domains: '{twice[0]}' is the name of several; names must be unique")
        if strange := [name for name in self.base if name not in names]:
            raise ValueError(
                f"base: '{strange[0]}' is none of the domains ({', '.join(names)}){did_you_mean(strange[0], names)}"
            )
        if bool(self.base) != (self.part != "all"):
            what = f"part '{self.part}' needs the names of its domains" if not self.base else "part 'all' has no base"
            raise ValueError(f"base: {what}; set both part and base, or neither")
        if self.split == "random" and self.part != "adapt":
            raise ValueError(f"split: part '{self.part}' is the same for both; set part=adapt, or leave split out")
        if not self.task_names:
            raise ValueError("base: every domain is the base's, so nothing is left to adapt to; set split=random")
        return self

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks of the part."""
        if self.part == "base" or self.split == "random":
            return (self.part,)
        return tuple(domain.name for domain in self.domains if domain.name not in self.base)

    def load(self) -> Stream:
        """Read all domains, and cut the splits.

        Raises:
            DataError: a file or package that cannot be read, or less text than is asked for; says which.
        """
        from plora.streams.document_splits import Shares, place_documents
        from plora.streams.documents import Documents
        from plora.streams.row_count import row_notes

        found = {domain.name: domain.read(self.root, self.cache) for domain in self.domains}
        shares = Shares(self.base, self.base_fraction, self.validation_fraction, self.test_fraction)
        caps = (self.train_bytes, self.validation_bytes, self.test_bytes)
        splits, rows = place_documents(found, shares, self._task_of, self.task_names, caps)
        tasks = []
        for name in self.task_names:
            train, validation, test = (Documents(splits[name][split]) for split in ("train", "validation", "test"))
            tasks.append(Task(name, (), train, validation, test))
        return Stream(
            name=self.name,
            tasks=tuple(tasks),
            scenarios=("task", "domain"),
            provenance={name: domain.origin for name, domain in found.items()},
            notes=row_notes(rows),
            rows=rows,
        )

    def _task_of(self, domain: str, of_base: bool) -> str | None:
        """The task of the part that a document of a domain is in; None where it is in another part."""
        if domain not in self.base:
            return domain if self.part != "base" and self.split == "domain" else None
        return self.part if (of_base if self.part == "base" else self.split == "random" and not of_base) else None
