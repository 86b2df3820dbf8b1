"""The order in which classes arrive, and how many in each task."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from plora.errors import DataError, did_you_mean

ClassOrder = Literal["natural", "seed"] | tuple[int | str, ...]
"""`natural`: as the data name them; `seed`: shuffled; or all classes, each once, by number or by name."""


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
