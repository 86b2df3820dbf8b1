"""Results as committed JSON: the numbers, and the command, commit, versions and hardware that made them."""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch

from plora import atomic
from plora.atomic import JsonValue
from plora.run_folder.folder import commit, processor

FOLDER = Path(__file__).parent / "results"


def path(name: str) -> Path:
    """Where the numbers of a module are: what a machine with a GPU measures stands beside what one without does."""
    return FOLDER / f"{name}{'-gpu' if torch.cuda.is_available() else ''}.json"


def write(name: str, numbers: Mapping[str, JsonValue], command: str | None = None) -> None:
    """Write the JSON of the module `name`; `command` is its own, as it was called."""
    arguments = shlex.join(sys.argv[1:])
    content: dict[str, JsonValue] = {
        "command": command or f"python -m benchmarks.{name} {arguments}".strip(),
        "commit": commit(FOLDER),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": processor() + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
        "threads": torch.get_num_threads(),
        "versions": {
            package: importlib.metadata.version(package) for package in ("plora", "torch", "transformers", "peft")
        }
        | {"python": platform.python_version()},
        **numbers,
    }
    atomic.write_json(path(name), content)
    print(f"wrote {path(name)}", flush=True)
