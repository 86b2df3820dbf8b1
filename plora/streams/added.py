"""Tasks that are added to a finished run: what they are made of, and the streams that read them."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, Discriminator, Tag

from plora.errors import DataError
from plora.streams.base import StreamSource
from plora.streams.columns import TableSource
from plora.streams.corpora import Corpora
from plora.streams.domains import Domain
from plora.streams.label_sets import LabelSetStream, LabelSetTask
from plora.streams.local import LocalStream, LocalTask
from plora.streams.numbers import NumberStream, NumberTask
from plora.streams.tagged import Tagged, TaggedTask
from plora.streams.target_tables import TargetTables

_Task = LocalTask | Domain | LabelSetTask | NumberTask | TaggedTask

ADDED: dict[str, type[_Task]] = {
    "tables": LocalTask,
    "documents": Domain,
    "label_sets": LabelSetTask,
    "numbers": NumberTask,
    "tagged": TaggedTask,
}
"""The task of each form; `ProblemSettings.added` says which form a problem learns from."""

_TOLD_BY = {
    "tagged": {"words", "tags", "tag_names"},
    "label_sets": {"labels", "separator"},
    "numbers": {"targets"},
    "documents": {"docstrings", "path", "hub"},
}
"""Keys that no form before has; a run's own config has all keys of a task."""

_FRACTIONS = ("validation_fraction", "test_fraction")
_TABLES = tuple(TableSource.model_fields.keys() - {"kind", "name", "tasks"})
_DOCUMENTS = (*_FRACTIONS, "train_bytes", "validation_bytes", "test_bytes", "root", "cache")
_SIZES: dict[str, tuple[type[StreamSource], tuple[str, ...]]] = {
    "tables": (TableSource, _TABLES),
    "documents": (Corpora, _DOCUMENTS),
    "label_sets": (TargetTables, _FRACTIONS),
    "numbers": (TargetTables, _FRACTIONS),
    "tagged": (Tagged, (*_FRACTIONS, "root", "cache")),
}
"""For each form the streams whose caps and fractions hold for what is added, and the keys that say them."""


def form_of(task: object) -> str:
    """Return the form of a task, or of its keys."""
    if isinstance(task, BaseModel):
        return next((form for form, kind in ADDED.items() if isinstance(task, kind)), "tables")
    keys = {*task} if isinstance(task, Mapping) else set()
    return next((form for form, own in _TOLD_BY.items() if own & keys), "tables")


AddedTask = Annotated[
    Annotated[LocalTask, Tag("tables")]
    | Annotated[Domain, Tag("documents")]
    | Annotated[LabelSetTask, Tag("label_sets")]
    | Annotated[NumberTask, Tag("numbers")]
    | Annotated[TaggedTask, Tag("tagged")],
    Discriminator(form_of),
]
"""A task that is added to a run."""


def added_sources(stream: StreamSource, added: Sequence[BaseModel]) -> tuple[StreamSource, ...]:
    """Return the sources of added tasks, with the caps and fractions of the stream.

    Tasks of one form are one source. A domain is one by itself: which of its documents are held out does not depend on
    others.

    Args:
        stream: of the run.
        added: its added tasks.

    Raises:
        DataError: the types of tagged sentences arrive in steps, of which an added task cannot be one more.
    """
    if isinstance(stream, Tagged) and stream.increment is not None and any(form_of(task) == "tagged" for task in added):
        raise DataError(
            f"types of entities arrive in steps here (stream.increment: {stream.increment}), and a task that is added "
            "would bring tags that are there already; give its sentences to a new run"
        )
    by_form = {form: tuple(task for task in added if form_of(task) == form) for form in ADDED}
    sizes = {
        form: {name: getattr(stream, name) for name in names} if isinstance(stream, kind) else {}
        for form, (kind, names) in _SIZES.items()
    }
    tables = {"tables": LocalStream, "label_sets": LabelSetStream, "numbers": NumberStream, "tagged": Tagged}
    return (
        *(
            source(name=stream.kind, tasks=by_form[form], **sizes[form])
            for form, source in tables.items()
            if by_form[form]
        ),
        *(Corpora(name=stream.kind, domains=(one,), **sizes["documents"]) for one in by_form["documents"]),
    )
