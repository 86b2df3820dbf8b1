"""Where plora keeps what can be computed again: tokenised texts, parsed corpora, states of frozen blocks. Safe to
delete."""

import os
from pathlib import Path

from plora.errors import ConfigError

PREFIX_CACHE_GIB = "PLORA_PREFIX_CACHE_GIB"
"""Environment variable: how much disk the states of frozen blocks may take; 4 by default, 0 keeps none."""


def cache_folder() -> Path:
    """Return `$PLORA_CACHE`, else `~/.cache/plora`."""
    return Path(os.environ.get("PLORA_CACHE") or Path.home() / ".cache" / "plora")


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
