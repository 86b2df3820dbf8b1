"""The run folder: everything from which a run can be read, repeated and used."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from filelock import FileLock, Timeout

from plora import __version__, atomic
from plora.atomic import JsonValue
from plora.config import RunConfig, load_config, read_values
from plora.errors import RunError
from plora.kinds import own_kinds
from plora.results import Point
from plora.sealed import read_sealed, write_sealed

TRUST_REMOTE_CODE = "PLORA_TRUST_REMOTE_CODE"
"""Environment variable: run folders may name backbones that bring their own code."""
TRUST_OWN_PARTS = "PLORA_TRUST_OWN_PARTS"
"""Environment variable: run folders may name classes that are not plora's, `kind: package.module:Class`."""
_SEAL = "# sha256 of the lines above: "
_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "datasets", "peft")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run: `config.yaml`, `environment.json`, `curves.jsonl`, `log.txt`, `predictions/`, `generated/`,
    `results.json`, `costs.json`, `slots/<hash>/`, `heads/`, `gates/`, `strategies/`, `checkpoints/task-NN/`,
    `checkpoints/step/`.
    """

    path: Path

    @staticmethod
    def require_new(path: Path) -> None:
        """Refuse a folder that exists already and is not empty; hidden files do not count."""
        if path.exists() and (not path.is_dir() or any(not file.name.startswith(".") for file in path.iterdir())):
            hint = f"Go on with `plora resume {path}`, choose" if (path / "config.yaml").is_file() else "Choose"
            raise RunError(
                f"run folder {path} exists already; nothing was changed. {hint} another name=…, "
                "seed=… or output=…, or remove the folder"
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
    def environment(self) -> Path:
        """Versions, hardware, and fingerprints of backbone, preprocessing and data."""
        return self.path / "environment.json"

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

    def head(self, content_hash: str) -> Path:
        """Where a part of the head is kept."""
        return self.path / "heads" / f"{content_hash}.safetensors"

    def strategy(self, content_hash: str) -> Path:
        """Where what a strategy remembers is kept."""
        return self.path / "strategies" / f"{content_hash}.safetensors"

    def gate(self, content_hash: str) -> Path:
        """Where what a gate has learned is kept."""
        return self.path / "gates" / f"{content_hash}.safetensors"

    @property
    def step(self) -> Path:
        """The checkpoint inside the task being learned."""
        return self.path / "checkpoints" / "step"

    def checkpoint(self, task: int) -> Path:
        """The checkpoint after task number `task`, from 1."""
        return self.path / "checkpoints" / f"task-{task:02}"

    def complete(self) -> list[int]:
        """Numbers of the checkpoints that have a manifest, ascending."""
        found = (path.parent.name.removeprefix("task-") for path in self.path.glob("checkpoints/task-*/manifest.json"))
        return sorted(int(number) for number in found if number.isdecimal())

    def last_checkpoint(self) -> int:
        """Number of the newest complete checkpoint.

        Raises:
            RunError: there is none.
        """
        if not (complete := self.complete()):
            raise RunError(f"{self.path} has no complete checkpoint; the run ended before its first task was learned")
        return complete[-1]

    def slot(self, content_hash: str) -> Path:
        """Where a committed slot is kept."""
        return self.path / "slots" / content_hash

    def append_curve(self, point: Point) -> None:
        """Add one line to curves.jsonl."""
        with self.curves.open("a", encoding="utf-8") as file:
            file.write(point.to_line())

    def curve_lines(self) -> int:
        """Number of lines of curves.jsonl."""
        return self.curves.read_bytes().count(b"\n") if self.curves.exists() else 0

    def cut_curves(self, lines: int) -> None:
        """Keep the first lines of curves.jsonl: later ones belong to steps that will be made again."""
        content = self.curves.read_bytes() if self.curves.exists() else b""
        whole = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]  # a power cut tears lines
        if b"".join(whole[:lines]) != content:
            atomic.write_bytes(self.curves, b"".join(whole[:lines]))

    # ------------------------------------------------------------------ one writer at a time

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here; what killed writers left behind is removed.

        Raises:
            RunError: another process is writing.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is being written by another process; wait for it, or stop it") from None
        try:
            atomic.remove_leftovers(self.path)
            yield
        finally:
            lock.release()

    # ------------------------------------------------------------------ config and environment

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved config, and under it the sha256 of its text."""
        text = config.to_yaml()
        atomic.write_text(self.config, f"{text}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n")

    def read_config(self) -> RunConfig:
        """Read the config that the run was started with.

        Raises:
            RunError: it was changed since, or wants to run code that is not plora's and the environment does not allow
                it.
        """
        text, mark, seal = self.config.read_bytes().rpartition(_SEAL.encode())
        if not mark or seal.decode("utf-8", "replace").strip() != hashlib.sha256(text).hexdigest():
            raise RunError(
                f"{self.config} was changed after the run was started, so it no longer says what was learned; "
                "restore it, and start a new run for other settings (plora run CONFIG key=value name=…)"
            )
        own = own_kinds(read_values(self.config))
        if own and os.environ.get(TRUST_OWN_PARTS) != "1":  # before they are imported
            raise RunError(
                f"{self.config} asks to run Python code of '{own[0]}', and a folder cannot decide that; if it is "
                f"yours, or you have read it and trust it, set {TRUST_OWN_PARTS}=1"
            )
        config = load_config(self.config)
        if config.backbone.trust_remote_code and os.environ.get(TRUST_REMOTE_CODE) != "1":
            raise RunError(
                f"{self.config} asks to run Python code that backbone '{config.backbone.id}' brings along, and a "
                f"folder cannot decide that; if you have read that code and trust it, set {TRUST_REMOTE_CODE}=1"
            )
        return config

    def read_environment(self) -> dict[str, object]:
        """Return the content of environment.json.

        Raises:
            RunError: it is missing or changed.
        """
        return read_sealed(self.environment)

    def forget_step(self) -> None:
        """Remove the checkpoint inside a task."""
        shutil.rmtree(self.step, ignore_errors=True)

    def write_environment(self, fingerprints: Mapping[str, JsonValue], processes: int = 1) -> dict[str, str]:
        """Write versions, hardware, commit and fingerprints to environment.json.

        What the run was started with stays; each later process in which something differs is listed under `later`.

        Args:
            fingerprints: of backbone, preprocessing and data.
            processes: that learn together.

        Returns:
            What differs from the start of the run, as `was → is` by name; empty for a new run.
        """
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
            "processes": processes,
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "commit": commit(),
        }
        changed: dict[str, str] = {}
        if self.environment.exists():
            started = self.read_environment()
            now, then = _flat(environment), _flat({key: started.get(key) for key in environment})
            changed = {key: f"{then.get(key)} → {now.get(key)}" for key in now | then if now.get(key) != then.get(key)}
            later = started.get("later", [])
            assert isinstance(later, list)
            environment = {key: started.get(key) for key in environment}  # type: ignore[misc]  # JSON, as it was read
            if (later or changed) and (not later or later[-1] != changed):
                later = [*later, changed]
            environment |= {"later": later} if later else {}
        write_sealed(self.environment, {**environment, **fingerprints})
        return changed


def _flat(environment: Mapping[str, object]) -> dict[str, object]:
    """An environment with its packages beside the rest."""
    packages = environment.get("packages")
    rest = {key: value for key, value in environment.items() if key != "packages"}
    return {**rest, **(packages if isinstance(packages, dict) else {})}


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
