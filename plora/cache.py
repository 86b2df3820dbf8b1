"""Where plora keeps what can be computed again: tokenised texts and parsed corpora. Safe to delete."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$PLORA_CACHE`, else `~/.cache/plora`."""
    return Path(os.environ.get("PLORA_CACHE") or Path.home() / ".cache" / "plora")
