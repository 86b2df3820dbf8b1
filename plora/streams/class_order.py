"""The order in which classes arrive, and how many in each task."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from plora.errors import DataError, did_you_mean
from plora.streams.base import StreamSource

_SHOWN = 5
"""Classes that a note says before it leaves the others out."""

ClassOrder = Literal["natural", "seed"] | tuple[int | str, ...]
"""`natural`: as the data name them; `seed`: shuffled; or all classes, each once, by number or by name."""


class ArrivingClasses(StreamSource):
    """A stream whose tasks have some of the classes each."""

    init_cls: int | None = Field(default=None, ge=2)
    """Classes of the first task; None: as many as `increment`."""

    increment: int | None = Field(default=None, ge=2)
    """Classes of every other task; None: one task has all classes."""

    class_order: ClassOrder = "natural"
    """`natural`: in the order of their names in the data; `seed`: shuffled by `class_seed`; or a list of all classes,
    by number or by name."""

    class_seed: int = Field(default=1993, ge=0, lt=2**32)
    """Decides `class_order: seed`, and has nothing to do with the run's seed. That of most papers is 1993."""

    @field_validator("class_order", mode="before")
    @classmethod
    def _classes_or_a_word(cls, order: object) -> object:
        if isinstance(order, str) and order not in ("natural", "seed"):
            raise ValueError("natural or seed was expected, or a list of all classes, by number or by name")
        return order

    def names_no_classes(self) -> bool:
        """Say whether nothing is set of how classes arrive."""
        return not self.init_cls and not self.increment and self.class_order == "natural"

    def arriving(self, names: Sequence[str], increment: int | None) -> Iterator[tuple[str, list[int]]]:
        """Yield the name of each task and the numbers of its classes.

        Args:
            names: of all classes, in their natural order.
            increment: classes of every task but the first.

        Raises:
            DataError: the classes do not divide into tasks, or a list of them is not one of all.
        """
        order = ordered_classes(names, self.class_order, self.class_seed)
        digits, start = len(str(len(order))), 0
        for size in task_sizes(len(order), self.init_cls, increment):
            yield f"classes-{start + 1:0{digits}}-{start + size:0{digits}}", order[start : start + size]
            start += size

    def order_note(self, names: Sequence[str]) -> dict[str, str]:
        """Return what log and report say of the order of the classes."""
        order = ordered_classes(names, self.class_order, self.class_seed)
        begin = " ".join(map(str, order[:_SHOWN])) + (" …" if len(order) > _SHOWN else "")
        how = {"natural": "natural", "seed": f"seed {self.class_seed}"}.get(str(self.class_order), "a list")
        return {"class order": f"{how}: {begin}"}


def ordered_classes(names: Sequence[str], order: ClassOrder, seed: int) -> list[int]:
    """Return the numbers of all classes in the order in which they arrive.

    With a seed s and C classes this is `numpy.random.RandomState(s).permutation(C)`, as the code of most papers has it:
    1993 with 100 classes begins 68, 56, 78, 8, 23.

    Args:
        names: of the classes, in their natural order.
        order: see `ClassOrder`.
        seed: of `seed`.

    Raises:
        DataError: a list has a class twice, misses one, or names one that there is not.
    """
    if order == "natural":
        return list(range(len(names)))
    if order == "seed":
        return [int(number) for number in np.random.RandomState(seed).permutation(len(names))]
    numbers: list[int] = []
    for one in order:
        if isinstance(one, str) and one not in names:
            raise DataError(f"class_order: there is no class '{one}'{did_you_mean(one, names)}; {_expected(names)}")
        if isinstance(one, int) and not 0 <= one < len(names):
            raise DataError(f"class_order: there is no class {one}; {_expected(names)}")
        numbers.append(names.index(one) if isinstance(one, str) else one)
    twice = [names[number] for number in sorted(set(numbers)) if numbers.count(number) > 1]
    if twice:
        raise DataError(f"class_order: {_some(twice)} stands there more than once; {_expected(names)}")
    missing = [name for number, name in enumerate(names) if number not in set(numbers)]
    if missing:
        raise DataError(f"class_order: {_some(missing)} is missing; {_expected(names)}")
    return numbers


def task_sizes(classes: int, first: int | None, increment: int | None) -> list[int]:
    """Return how many classes each task has.

    Args:
        classes: how many there are.
        first: of the first task; None: as many as of the others.
        increment: of every other task; None: there is no other.

    Raises:
        DataError: what is left after the first task does not divide by `increment`; names increments that do.
    """
    if increment is None:
        if first is not None and first != classes:
            raise DataError(
                f"init_cls: {first} of {classes} classes are in the first task, and no increment says what becomes of "
                "the others; set increment"
            )
        return [classes]
    first = increment if first is None else first
    left = classes - first
    if left < 0 or left % increment:
        possible = [size for size in range(2, left + 1) if left % size == 0]
        nearest = sorted(sorted(possible, key=lambda size: abs(size - increment))[:3])
        hint = f"the first task can have at most {classes}"
        if nearest:
            hint = f"of the {left} after the first task, increments of {', '.join(map(str, nearest))} divide"
        raise DataError(f"increment: {classes} classes do not divide into {first} and then {increment} a task; {hint}")
    return [first] + [increment] * (left // increment)


def _expected(names: Sequence[str]) -> str:
    return f"a list has each of the {len(names)} classes once, by number from 0 or by name"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
