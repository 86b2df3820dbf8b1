"""The run folder: everything from which a run can be read, repeated and used."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from plora import __version__, atomic
from plora.atomic import JsonValue
from plora.errors import RunError
from plora.results import Point

_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "datasets", "peft")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run: `config.yaml`, `environment.json`, `curves.jsonl`, `log.txt`, `predictions/`, `results.json`,
    `slots/<hash>/`, `checkpoints/task-NN/`."""

    path: Path

    @staticmethod
    def require_new(path: Path) -> None:
        """Refuse a folder that exists already and is not empty."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"run folder {path} exists already; nothing was changed. Choose another name=…, seed=… or output=…, "
                "or remove the folder"
            )

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Make a new run folder.

        Raises:
            RunError: it exists already and is not empty, or cannot be made.
        """
        cls.require_new(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"run folder {path} cannot be made: {error.strerror}") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """Open the folder of an earlier run.

        Raises:
            RunError: it is not one.
        """
        if not (path / "config.yaml").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.yaml")
        return cls(path)

    @property
    def config(self) -> Path:
        """The resolved config; `plora run` on it repeats the run."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """One line per event."""
        return self.path / "log.txt"

    @property
    def curves(self) -> Path:
        """One line per logged step."""
        return self.path / "curves.jsonl"

    def predictions(self, task: int) -> Path:
        """The sufficient record after task number `task` (0: before training)."""
        return self.path / "predictions" / f"task-{task:02}.parquet"

    def checkpoint(self, task: int) -> Path:
        """The checkpoint after task number `task`, from 1."""
        return self.path / "checkpoints" / f"task-{task:02}"

    def last_checkpoint(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            RunError: there is none.
        """
        complete = sorted(self.path.glob("checkpoints/task-*/manifest.json"))
        if not complete:
            raise RunError(f"{self.path} has no complete checkpoint; the run ended before its first task was learned")
        return complete[-1].parent

    def slot(self, content_hash: str) -> Path:
        """Where a committed slot is kept."""
        return self.path / "slots" / content_hash

    def append_curve(self, point: Point) -> None:
        """Add one line to curves.jsonl."""
        with self.curves.open("a", encoding="utf-8") as file:
            file.write(point.to_line())

    def write_environment(self, fingerprints: Mapping[str, JsonValue]) -> None:
        """Write versions, hardware, commit and fingerprints to environment.json."""
        versions = {}
        for package in _PACKAGES:
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        environment: dict[str, JsonValue] = {
            "plora": __version__,
            "python": platform.python_version(),
            "packages": versions,
            "platform": platform.platform(),
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "commit": commit(),
            **fingerprints,
        }
        atomic.write_json(self.path / "environment.json", environment)


def size_on_disk(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def processor() -> str:
    """Return the processor's name and its number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model}, {os.cpu_count()} cores"


def commit() -> str | None:
    """Return the commit of the working folder's repository, marked when it has changes; None outside one."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
