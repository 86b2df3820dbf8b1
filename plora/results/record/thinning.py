"""Some of many, evenly spread."""


def spread_over(count: int, most: int) -> list[int]:
    """Return at most `most` positions, evenly spread over 0 … `count` − 1, the first and the last among them.

    Args:
        count: of what there is.
        most: 2 or more.
    """
    if count <= most:
        return list(range(count))
    return [round(step * (count - 1) / (most - 1)) for step in range(most)]
