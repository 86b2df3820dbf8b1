"""Where plora keeps what can be computed again: tokenised texts, parsed corpora, states of frozen blocks. Safe to
delete."""

import logging
import os
from functools import lru_cache
from pathlib import Path

from plora.errors import ConfigError

PREFIX_CACHE_GIB = "PLORA_PREFIX_CACHE_GIB"
"""Environment variable: how much disk the states of frozen blocks may take; 4 by default, 0 keeps none."""


CACHE = "PLORA_CACHE"
"""Environment variable: the folder of the cache."""


def cache_folder() -> Path | None:
    """Return `$PLORA_CACHE`, else `~/.cache/plora`; None, which is said once, for a user who has no home."""
    if named := os.environ.get(CACHE):
        return Path(named)
    try:
        return Path.home() / ".cache" / "plora"
    except RuntimeError:  # a container's user that no file of the system knows
        _say_once("this user has no home folder")
        return None


def left_out(error: OSError) -> None:
    """Say once for each reason, on stderr where nobody set up logging, that something is not kept in the cache.

    Args:
        error: of the system; which of many files it was about is not repeated.
    """
    _say_once(f"{cache_folder()}: {error.strerror or error}")


@lru_cache(maxsize=100)
def _say_once(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "plora: working without the cache (%s); set %s to a folder with room that can be written", reason, CACHE
    )


def prefix_cache_bytes() -> int:
    """Return how many bytes the states of frozen blocks may take on disk.

    Raises:
        ConfigError: `$PLORA_PREFIX_CACHE_GIB` is no number of 0 or more.
    """
    text = os.environ.get(PREFIX_CACHE_GIB) or "4"
    try:
        size = int(float(text) * 2**30)
    except (ValueError, OverflowError):  # nan and inf too
        size = -1
    if size < 0:
        raise ConfigError([f"environment variable {PREFIX_CACHE_GIB}: got {text!r}; expected GiB, 0 or more"])
    return size
