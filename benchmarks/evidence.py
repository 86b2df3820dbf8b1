"""Results as committed JSON: the numbers, and the command, commit, versions and hardware that made them."""

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from plora import atomic
from plora.atomic import JsonValue
from plora.training.folder import commit, processor

FOLDER = Path(__file__).parent / "results"


def write(name: str, numbers: Mapping[str, JsonValue], command: str | None = None) -> None:
    """Write `benchmarks/results/<name>.json`; `command` is that of the module with this name, as it was called."""
    import torch

    arguments = shlex.join(sys.argv[1:])
    content: dict[str, JsonValue] = {
        "command": command or f"python -m benchmarks.{name} {arguments}".strip(),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": processor(),
        "threads": torch.get_num_threads(),
        "versions": {
            package: importlib.metadata.version(package) for package in ("plora", "torch", "transformers", "peft")
        }
        | {"python": platform.python_version()},
        **numbers,
    }
    atomic.write_json(FOLDER / f"{name}.json", content)
    print(f"wrote {FOLDER / name}.json", flush=True)
