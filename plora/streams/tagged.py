"""A stream of sentences with a tag for each word: a task for each data set, or for each step of types of entities."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from plora.errors import DataError
from plora.streams.base import SPLITS, SplitName, Stream, Task
from plora.streams.class_order import ArrivingClasses
from plora.streams.class_steps import Protocol
from plora.streams.hub_set import HubSet

if TYPE_CHECKING:
    from plora.streams.row_count import RowCount
    from plora.streams.tagged_files import FoundSentences
    from plora.streams.tagged_sentences import Words

_SHOWN = 5


class TaggedTask(BaseModel):
    """One data set of sentences with tags: files, or a data set of the hub.

    - {name: news, train: news-train.conll, test: news-test.conll}      # a word and its tag a line
    - {name: medicine, train: medicine.jsonl}                           # {"words": […], "tags": […]} a line
    - {name: wikipedia, hub: {id: owner/name}, words: tokens, tags: ner_tags}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """Name of the task, unique in the stream."""

    train: Path | None = None
    """File with the training sentences: JSON lines, parquet, or columns (`.conll`, `.bio`, `.iob`, `.iob2`, `.txt`)."""

    validation: Path | None = None
    """File with the validation sentences; None: cut from train."""

    test: Path | None = None
    """File with the test sentences; None: cut from train."""

    hub: HubSet | None = None
    """A data set of the hub in place of files; needs the extra `hub`."""

    words: str = "words"
    """Column with the list of words of a sentence, of JSON lines and tables."""

    tags: str = "tags"
    """Column with the list of their tags: names (`O`, `B-…`, `I-…`), or numbers."""

    tag_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Names of tags that are numbers, by number; None: those that the data set declares."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        files = [name for name in SPLITS if getattr(self, name) is not None]
        if self.hub is not None and files:
            raise ValueError(f"'{self.name}' has hub and {files[0]}; expected one of files and hub")
        if self.hub is None and self.train is None:
            raise ValueError(f"'{self.name}' has neither train nor hub; name a file with training sentences")
        return self


class Tagged(ArrivingClasses):
    """Sentences with tags in the scheme IOB2; for `problem: {kind: token_classification}`.

    Each task has the types of entities that its own training sentences have. With `increment` types arrive in steps,
    for `scenario: class`: in the sentences of a step, words of entities of other steps are O, as nobody has marked
    them. Test sentences have all types, each sentence is tested in one step, and types that were not learned yet are O
    when it is scored.

    Source: of steps of types, Monaikul et al. 2021 (continual NER, AAAI 35).
    """

    kind: Literal["tagged"] = "tagged"

    name: str = Field(default="tagged", min_length=1)
    """Name of the stream, shown in reports."""

    tasks: tuple[TaggedTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are learned; with `increment` as a number, all of their sentences are one
    data set."""

    init_cls: int | None = Field(default=None, ge=1)
    """Types of the first step; None: as many as `increment`."""

    increment: int | Literal["task"] | None = None  # type: ignore[assignment]  # tasks may be steps, too
    """Types of every other step; `task`: each task is a step, and adds the types that it has; None: types do not arrive
    in steps, and each task has an O of its own."""

    protocol: Protocol = "overlapped"
    """Which sentences a step learns from: `overlapped`, all that have one of its types; `disjoint`, those of them that
    have no type of a later step; `partitioned`, each sentence in one step."""

    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training sentences of each task that becomes validation, where no validation data are given."""

    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training sentences of each task that becomes test, where no test data are given."""

    root: Path | None = None
    """Folder with local copies of data sets of the hub, `<root>/<id>/` each in the hub's own layout; None: download."""

    cache: Path | None = None
    """Folder in which `datasets` keeps what it downloads and converts; None: its own default."""

    @model_validator(mode="after")
    def _steps_where_something_is_said_of_them(self) -> Self:
        usual = type(self).model_fields
        said = ("init_cls", "class_order", "class_seed", "protocol")
        strange = [name for name in said if getattr(self, name) != usual[name].default]
        if strange and not isinstance(self.increment, int):
            raise ValueError(f"{', '.join(strange)}: of steps of types; set increment to a number, or leave it out")
        if isinstance(self.increment, int) and self.increment < 1:
            raise ValueError(f"increment: {self.increment} types a step; expected 1 or more, or 'task'")
        return self

    def load(self) -> Stream:
        """Read all sentences, cut the splits that are missing, and make the tasks.

        Raises:
            DataError: a file, a sentence, a tag or a type that cannot be used; says which.
        """
        from plora.streams.row_count import row_notes

        found: dict[str, dict[SplitName, FoundSentences]] = {}
        rows: dict[str, RowCount] = {}
        origin: dict[str, str] = {}
        for task in self.tasks:
            found[task.name], told = _read(task, self.root, self.cache)
            origin |= told
            for split, sentences in found[task.name].items():
                rows[f"{task.name}.{split}"] = _counted(sentences)
        splits = {name: self._cut(name, given) for name, given in found.items()}
        stray = {name: sum(one.stray for one in given.values()) for name, given in found.items()}
        notes = row_notes(rows) | {
            f"tags of {name}": f"{count} I- follow no word of their type: entity F1 lets each begin an entity, and in "
            "its strict form none"
            for name, count in stray.items()
            if count
        }
        if self.increment is None:
            tasks = tuple(_task(name, own, types_of(own["train"])) for name, own in splits.items())
            return Stream(self.name, tasks, ("task", "domain"), origin, notes, rows)
        if self.increment == "task":
            steps, said = _steps_of_tasks(splits)
        else:
            steps, said = self._steps_of_types(splits, self.increment)
        return Stream(self.name, steps, ("class",), origin, {**notes, **said}, rows)

    def _cut(self, name: str, given: Mapping[SplitName, "FoundSentences"]) -> "dict[SplitName, _Sentences]":
        """All three splits of a task; those that are missing are cut from train, by the hash of the words."""
        from plora.streams.hashing import text_key
        from plora.streams.held_out import held_out

        splits = {split: [*zip(own.words, own.tags, strict=True)] for split, own in given.items()}
        cuts: tuple[tuple[SplitName, float], ...] = (
            ("test", self.test_fraction),
            ("validation", self.validation_fraction),
        )
        for split, fraction in cuts:
            if split not in splits:
                pool = splits["train"]
                keys = np.array([text_key(" ".join(words)) for words, _ in pool], np.uint64)
                held = held_out(keys, np.zeros(len(pool), np.int64), None, fraction, None) if pool else keys > 0
                splits[split] = [one for one, out in zip(pool, held, strict=True) if out]
                splits["train"] = [one for one, out in zip(pool, held, strict=True) if not out]
        known = set(types_of(splits["train"]))
        if not known:
            raise DataError(f"task '{name}': no training sentence has an entity; every tag is O, so nothing is learned")
        for split in ("validation", "test"):
            if strange := [one for one in types_of(splits[split]) if one not in known]:
                raise DataError(
                    f"task '{name}': type '{strange[0]}' appears in {split} but never in train "
                    f"({_some(sorted(known))}); add training sentences for it, or tag its words O"
                )
        return splits

    def _steps_of_types(
        self, tasks: "Mapping[str, Mapping[SplitName, _Sentences]]", increment: int
    ) -> tuple[tuple[Task, ...], dict[str, str]]:
        """A task for each step of types, of the sentences of all tasks, and what there is to know of them."""
        from plora.streams.class_steps import images_of_steps

        joined: dict[SplitName, _Sentences] = {
            split: [one for own in tasks.values() for one in own[split]] for split in SPLITS
        }
        names = types_of(joined["train"])
        arriving = [(step, [names[at] for at in places]) for step, places in self.arriving(names, increment)]
        types = [one for _, own in arriving for one in own]
        steps = [[types.index(one) for one in own] for _, own in arriving]
        chosen = {
            split: images_of_steps(
                _shown(joined[split], types),
                steps,
                "partitioned" if split == "test" else self.protocol,
                every=split == "test",  # an entity that is found where there is none is a mistake of some step
            )
            for split in SPLITS
        }
        made = []
        for at, (step, own) in enumerate(arriving):
            splits: dict[SplitName, _Sentences] = {
                split: [joined[split][index] for index in chosen[split][at].tolist()] for split in SPLITS
            }
            if empty := [split for split in SPLITS if not _shown(splits[split], types)[:, steps[at]].any()]:
                raise DataError(
                    f"step '{step}' ({', '.join(own)}) has no {empty[0]} sentences (protocol {self.protocol}); give "
                    "more sentences, another class_order, or larger steps"
                )
            made.append(_task(step, splits, types, own, first=not at))
        return tuple(made), _note(dict(arriving), f"{self.protocol}: ")


def _steps_of_tasks(
    tasks: "Mapping[str, Mapping[SplitName, _Sentences]]",
) -> tuple[tuple[Task, ...], dict[str, str]]:
    """The tasks as steps that add the types that they have, and what there is to know of them."""
    owner: dict[str, str] = {}
    for name, own in tasks.items():
        for one in types_of(own["train"]):
            if one in owner:
                raise DataError(
                    f"increment: task: type '{one}' is in both '{owner[one]}' and '{name}', and a step adds types that "
                    "no other has; leave increment out for scenario=task or scenario=domain"
                )
            owner[one] = name
    types = [*owner]
    given = {name: [one for one in types if owner[one] == name] for name in tasks}
    made = [_task(name, own, types, given[name], first=not at) for at, (name, own) in enumerate(tasks.items())]
    return tuple(made), _note(given)


_Sentences = list[tuple["Words", "Words"]]
"""Words of each sentence, and the name of each word's tag."""


def types_of(sentences: "_Sentences") -> list[str]:
    """Return the types of the entities in some sentences, in the order of their names."""
    from plora.streams.tagged_sentences import type_of

    return sorted({one for _, tags in sentences for tag in tags if (one := type_of(tag)) is not None})


def _read(
    task: TaggedTask, root: Path | None, cache: Path | None
) -> tuple["dict[SplitName, FoundSentences]", dict[str, str]]:
    """The sentences of each split that is given, and where they come from."""
    from plora.streams.hub_set import hub_tables
    from plora.streams.readers import content_hash
    from plora.streams.tagged_files import read_tagged, tagged_table

    if task.hub is not None:
        tables = hub_tables(task.hub, root, cache)
        origin = {task.name: "@".join(part for part in (task.hub.id, task.hub.config, task.hub.revision) if part)}
        return {name: tagged_table(one, task.words, task.tags, task.tag_names) for name, one in tables.items()}, origin
    paths: dict[SplitName, Path | None] = {"train": task.train, "validation": task.validation, "test": task.test}
    named = {split: path for split, path in paths.items() if path is not None}
    found = {split: read_tagged(path, task.words, task.tags, task.tag_names) for split, path in named.items()}
    for split, path in named.items():
        if not found[split].words:
            raise DataError(f"task '{task.name}': '{path}' has no sentence with a word; give one a row")
    return found, {f"{task.name}.{split}": f"{path.name} sha256:{content_hash(path)}" for split, path in named.items()}


def _counted(found: "FoundSentences") -> "RowCount":
    from plora.streams.row_count import RowCount

    return RowCount(len(found.words) + sum(found.left_out.values()), found.left_out)


def _task(
    name: str,
    splits: "Mapping[SplitName, _Sentences]",
    types: list[str],
    own: list[str] | None = None,
    first: bool = True,
) -> Task:
    """A task of sentences.

    Args:
        name: of the task.
        splits: its sentences.
        types: of entities that tags are numbered by.
        own: of them, those that a step adds: in train and validation all other tags are O. None: there are no steps.
        first: it is the first step, whose tags O is among.
    """
    from plora.streams.tagged_sentences import OUTSIDE, TaggedSentences, tags_of, type_of

    names = (OUTSIDE, *tags_of(types))
    ids = {tag: number for number, tag in enumerate(names)}
    made: dict[SplitName, TaggedSentences] = {}
    for split, sentences in splits.items():
        told = types if own is None or split == "test" else own
        tags = tuple(tuple(ids[tag] if type_of(tag) in told else 0 for tag in tagged) for _, tagged in sentences)
        made[split] = TaggedSentences(tuple(words for words, _ in sentences), tags, names, own is not None)
    if own is None:
        return Task(name, names, **made)
    return Task(name, (OUTSIDE, *tags_of(own)) if first else tags_of(own), **made)


def _shown(sentences: "_Sentences", types: list[str]) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    """Which types each sentence has, `[N, C]`."""
    found = np.zeros((len(sentences), len(types)), np.bool_)
    for row, one in enumerate(sentences):
        found[row, [types.index(found_type) for found_type in types_of([one])]] = True
    return found


def _note(steps: Mapping[str, list[str]], how: str = "") -> dict[str, str]:
    return {"steps of types": how + " | ".join(f"{name}: {', '.join(own)}" for name, own in steps.items())}


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
