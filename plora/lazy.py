"""Packages whose names are loaded when they are first used: importing one costs nothing, and has no side effects."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def names_from(package: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], list[str]]:
    """Return a package's `__getattr__` and its `__all__`.

    Args:
        package: the package's `__name__`.
        homes: by module below the package, the names that are its.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def get(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{home_of[name]}"), name)

    return get, sorted(home_of)
