"""In which order classes arrive: the order of the papers, a list, and lists that are wrong."""

from collections.abc import Sequence

import pytest

from plora.errors import DataError
from plora.streams.class_order import ordered_classes, task_sizes

NAMES = [f"class {number}" for number in range(100)]


def test_seed_1993_is_the_order_of_the_papers() -> None:
    order = ordered_classes(NAMES, "seed", 1993)
    assert order[:10] == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]
    assert sorted(order) == list(range(100))
    assert ordered_classes(NAMES, "seed", 1994) != order
    assert ordered_classes(NAMES, "natural", 1993) == list(range(100))


def test_a_list_is_of_numbers_of_names_or_of_both() -> None:
    assert ordered_classes(["a", "b", "c"], (2, 0, 1), 0) == [2, 0, 1]
    assert ordered_classes(["a", "b", "c"], ("c", "a", "b"), 0) == [2, 0, 1]
    assert ordered_classes(["1", "0", "c"], ("1", "c", 1), 0) == [0, 2, 1]


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ((0, 1, 1, 2), "class_order: 'b' stands there more than once"),
        ((0, "a", 1, 2), "class_order: 'a' stands there more than once"),
        ((0, 2), "class_order: 'b' is missing"),
        (("a", "b", "cc"), r"class_order: there is no class 'cc'"),
        ((0, 1, 3), "class_order: there is no class 3"),
        ((0, 1, -1), "class_order: there is no class -1"),
    ],
)
def test_a_wrong_list_is_one_line(order: tuple[int | str, ...], says: str) -> None:
    with pytest.raises(DataError, match=f"^{says}[^\n]*a list has each of the 3 classes once[^\n]*$"):
        ordered_classes(["a", "b", "c"], order, 0)


def test_many_missing_classes_are_counted() -> None:
    with pytest.raises(DataError, match=r"'class 5' and 94 more is missing"):
        ordered_classes(NAMES, (0,), 0)


@pytest.mark.parametrize(
    ("classes", "first", "increment", "sizes"),
    [
        (100, None, 10, [10] * 10),
        (100, 50, 10, [50, 10, 10, 10, 10, 10]),
        (100, None, None, [100]),
        (100, 100, None, [100]),
        (100, 100, 7, [100]),
        (5, 3, 2, [3, 2]),
    ],
)
def test_sizes(classes: int, first: int | None, increment: int | None, sizes: Sequence[int]) -> None:
    assert task_sizes(classes, first, increment) == sizes


@pytest.mark.parametrize(
    ("classes", "first", "increment", "says"),
    [
        (100, None, 30, "100 classes do not divide into 30 and then 30 a task; of the 70 .* 14, 35"),
        (100, 20, 30, "100 classes do not divide into 20 and then 30 a task; of the 80 .* 20, 40"),
        (10, 12, 2, "10 classes do not divide into 12 .* the first task can have at most 10"),
        (10, 9, 2, "10 classes do not divide into 9 .* the first task can have at most 10"),
        (100, 20, None, "init_cls: 20 of 100 classes are in the first task.*set increment"),
    ],
)
def test_what_does_not_divide_is_one_line(classes: int, first: int | None, increment: int | None, says: str) -> None:
    with pytest.raises(DataError, match=f"^[^\n]*{says}[^\n]*$"):
        task_sizes(classes, first, increment)
