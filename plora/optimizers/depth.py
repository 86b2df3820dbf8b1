"""How deep in the network a parameter is, by the numbers in its path."""

from collections.abc import Sequence


def blocks_above(names: Sequence[str]) -> dict[str, int]:
    """Return for each parameter how many blocks of the network are above its own.

    Blocks are what is numbered in the path, `encoder.layer.3.…`: the outermost list of which two members are there. A
    parameter outside them (embeddings, the last norm, a head) has those lists above it that come after it.

    Args:
        names: of parameters, in the network's own order.
    """
    members: dict[str, set[int]] = {}
    for name in names:
        for path, number in _numbered(name):
            members.setdefault(path, set()).add(number)
    lists = {path: max(numbers) for path, numbers in members.items() if len(numbers) > 1}
    above, start, found = 0, dict[str, int](), dict[str, int]()
    for name in reversed(names):
        path, number = next(((path, number) for path, number in _numbered(name) if path in lists), ("", 0))
        if path not in lists:
            found[name] = above
            continue
        if path not in start:
            start[path] = above
            above += lists[path] + 1
        found[name] = start[path] + lists[path] - number
    return found


def _numbered(name: str) -> list[tuple[str, int]]:
    """The numbers of a path, each with the path before it, from the outermost on."""
    parts = name.split(".")
    return [(".".join(parts[:place]), int(part)) for place, part in enumerate(parts) if part.isdecimal()]
