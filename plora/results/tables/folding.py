"""What is shown of many: all up to a number that can be read, the first and the last of more."""

WHOLE_UP_TO = 40  # rows, columns or lines
FOLD = "…"  # stands for what is left out
ENDS = 5  # of each end of a table that is folded


def shown(count: int, ends: int = ENDS) -> list[int]:
    """Return the positions, from 0, that stand in a table of `count`: all of a few, the first and last of many.

    Args:
        count: of rows or columns.
        ends: how many of each end of many.
    """
    if count <= WHOLE_UP_TO:
        return list(range(count))
    return [*range(ends), *range(count - ends, count)]
