"""Components of outliers, one pixel at a time."""

from collections.abc import Sequence
from statistics import fmean

Pixel = tuple[int, int]


def components(pixels: set[Pixel]) -> list[set[Pixel]]:
    left, found = set(pixels), []
    while left:
        open_, own = [left.pop()], set()
        while open_:
            y, x = open_.pop()
            own.add((y, x))
            for near in {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left:
                left.discard(near)
                open_.append(near)
        found.append(own)
    return found


def siou(one: set[Pixel], true: Sequence[set[Pixel]], seen: Sequence[set[Pixel]]) -> float:
    met = set().union(*(other for other in seen if other & one))
    others = set().union(*(other for other in true if other is not one))
    return len(one & met) / len((one | met) - others)


def ppv(one: set[Pixel], true: Sequence[set[Pixel]]) -> float:
    return len(one & set().union(*true)) / len(one)


def f1_star(images: Sequence[tuple[set[Pixel], set[Pixel]]]) -> float:
    levels = []
    for percent in range(25, 80, 5):
        hits = missed = false = 0
        for true, seen in images:
            of_true, of_seen = components(true), components(seen)
            found = [siou(one, of_true, of_seen) > percent / 100 for one in of_true]
            hits, missed = hits + sum(found), missed + len(found) - sum(found)
            false += sum(ppv(one, of_true) <= percent / 100 for one in of_seen)
        levels.append(2 * hits / (2 * hits + missed + false))
    return fmean(levels)
