"""The run folder: everything from which a run can be read, repeated and used."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from filelock import FileLock, Timeout

from plora import atomic
from plora.atomic import JsonValue
from plora.config import RunConfig, load_config, read_values
from plora.errors import RunError
from plora.kinds import own_kinds
from plora.regular import inside, open_file, read_file
from plora.results import Point
from plora.results.record.found_runs import FORGOTTEN_FILE, checkpoints, manifest_file
from plora.results.record.identity import SEAL, config_seal, open_own
from plora.run_folder.environment import ENVIRONMENT, Environment
from plora.sealed import Identity, fitted, write_sealed
from plora.version import __version__

TRUST_REMOTE_CODE = "PLORA_TRUST_REMOTE_CODE"
"""Environment variable: run folders may name backbones that bring their own code."""
TRUST_OWN_PARTS = "PLORA_TRUST_OWN_PARTS"
"""Environment variable: run folders may name classes that are not plora's, `kind: package.module:Class`."""
_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "datasets", "peft", "kornia")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run: `config.yaml`, `environment.json`, `curves.jsonl`, `log.txt`, `predictions/`, `generated/`,
    `examples/`, `results.json`, `costs.json`, `forgotten.json`, `slots/<hash>/`, `heads/`, `gates/`, `strategies/`,
    `checkpoints/task-NN/`, `checkpoints/step/`.

    Each is a plain file or folder inside the run folder: where a link, a pipe or a device stands in its place or on the
    way, asking for the path raises RunError.
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
        folder = cls(path)
        if not folder.config.exists():
            raise RunError(f"{path} is not a run folder: it has no config.yaml")
        return folder

    def inside(self, *names: str) -> Path:
        """Return a path of the run; see `plora.regular.inside`."""
        return inside(self.path, *names)

    @property
    def config(self) -> Path:
        """The resolved config; `plora run` on it repeats the run."""
        return self.inside("config.yaml")

    @property
    def environment(self) -> Path:
        """Versions, hardware, and fingerprints of backbone, preprocessing and data."""
        return self.inside("environment.json")

    @property
    def log(self) -> Path:
        """One line per event."""
        return self.inside("log.txt")

    @property
    def curves(self) -> Path:
        """One line per logged step."""
        return self.inside("curves.jsonl")

    @property
    def trackers(self) -> Path:
        """Where trackers write files; in it no folder is a link that would lead them elsewhere."""
        home = self.inside("trackers")
        for root, folders, files in os.walk(home):
            for name in (*folders, *files):
                self.inside(*Path(root, name).relative_to(self.path).parts)
        return home

    def predictions(self, task: int) -> Path:
        """The sufficient record after task number `task` (0: before training)."""
        return self.inside("predictions", f"task-{task:02}.parquet")

    def head(self, content_hash: str) -> Path:
        """Where a part of the head is kept."""
        return self.inside("heads", f"{content_hash}.safetensors")

    def strategy(self, content_hash: str) -> Path:
        """Where what a strategy remembers is kept."""
        return self.inside("strategies", f"{content_hash}.safetensors")

    def gate(self, content_hash: str) -> Path:
        """Where what a gate has learned is kept."""
        return self.inside("gates", f"{content_hash}.safetensors")

    @property
    def step(self) -> Path:
        """The checkpoint inside the task being learned."""
        return self.inside("checkpoints", "step")

    def checkpoint(self, task: int) -> Path:
        """The checkpoint after task number `task`, from 1."""
        return self.inside("checkpoints", f"task-{task:02}")

    def manifest(self, task: int) -> Path:
        """What the checkpoint after task number `task` holds; it counts when this is there."""
        return manifest_file(self.path, task)

    @property
    def forgotten(self) -> Path:
        """Which tasks were taken out."""
        return self.inside(FORGOTTEN_FILE)

    def complete(self) -> list[int]:
        """Numbers of the checkpoints that have a manifest, ascending."""
        return [*checkpoints(self.path)]

    def slot(self, content_hash: str) -> Path:
        """Where a committed slot is kept."""
        return self.inside("slots", content_hash)

    def append_curve(self, point: Point) -> None:
        """Add one line to curves.jsonl."""
        with open_file(self.curves, append=True) as file:
            file.write(point.to_line().encode())

    def curve_lines(self) -> int:
        """Number of lines of curves.jsonl."""
        return read_file(self.curves).count(b"\n") if self.curves.exists() else 0

    def cut_curves(self, lines: int) -> None:
        """Keep the first lines of curves.jsonl: later ones belong to steps that will be made again."""
        content = read_file(self.curves) if self.curves.exists() else b""
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
        with open_file(self.inside(".lock"), append=True):
            pass  # parted from its other names: a file lock may empty what it locks
        lock = FileLock(self.inside(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path} is being written by another process; wait for it, or stop it") from None
        try:
            self._remove_leftovers()
            yield
        finally:
            lock.release()

    # ------------------------------------------------------------------ config and environment

    def _remove_leftovers(self) -> None:
        """Delete what killed writers left where a run has files; what else stands there is nobody's business."""
        places = [
            (),
            *(
                (name,)
                for name in ("predictions", "generated", "examples", "heads", "gates", "strategies", "checkpoints")
            ),
        ]
        places += [("checkpoints", entry.name) for entry in _folders(self.inside("checkpoints"))]
        places += [("slots", entry.name) for entry in _folders(self.inside("slots"))]
        for names in places:
            if (place := self.inside(*names)).is_dir():
                atomic.remove_leftovers(place)

    def write_config(self, config: RunConfig, run: str | None = None) -> None:
        """Write the resolved config, under it whose it is, and under that the sha256 of all the text.

        Args:
            config: of the run.
            run: its identity, where the config has changed since it began.
        """
        text = f"{config.to_yaml()}# run: {run or config.identity}\n"
        atomic.write_text(self.config, f"{text}{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n")

    @property
    def run(self) -> str:
        """What every file of the run calls it; empty where an older version of plora wrote the config.

        Raises:
            RunError: the config was changed since.
        """
        return config_seal(self.config)[0]

    def read_config(self, to_answer: bool = False) -> RunConfig:
        """Read the config that the run was started with.

        Args:
            to_answer: nothing will be learned, so strategies that are not plora's, or name a part that is not, are left
                out, and need neither trust nor to be installed.

        Raises:
            RunError: it was changed since, or wants to run code that is not plora's and the environment does not allow
                it.
        """
        config_seal(self.config)
        values = read_values(self.config)
        strategies = values.get("strategies")
        if to_answer and isinstance(strategies, list):
            values["strategies"] = [strategy for strategy in strategies if not own_kinds(strategy)]
        own = own_kinds(values)
        if own and os.environ.get(TRUST_OWN_PARTS) != "1":  # before they are imported
            raise RunError(
                f"{self.config} asks to run Python code of '{own[0]}', and a folder cannot decide that; if it is "
                f"yours, or you have read it and trust it, set {TRUST_OWN_PARTS}=1"
            )
        config = load_config(values)
        if config.backbone.trust_remote_code and os.environ.get(TRUST_REMOTE_CODE) != "1":
            raise RunError(
                f"{self.config} asks to run Python code that backbone '{config.backbone.id}' brings along, and a "
                f"folder cannot decide that; if you have read that code and trust it, set {TRUST_REMOTE_CODE}=1"
            )
        return config

    def read_environment(self) -> Environment:
        """Return the content of environment.json.

        Raises:
            RunError: it is missing, changed or damaged, or another run's.
        """
        content = open_own(self.environment, self.run or None, "environment").content
        return fitted(self.environment, content, ENVIRONMENT)

    @property
    def made_in(self) -> Path | None:
        """The folder in which the run was started; None where nothing says so.

        Raises:
            RunError: environment.json was changed or damaged, or is another run's.
        """
        said = self.read_environment().made_in if self.environment.exists() else None
        return None if said is None else Path(said)

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
            read = self.read_environment()
            started, later = read.model_dump(), [*read.later]
            now, then = _flat(environment), _flat({key: started.get(key) for key in environment})
            changed = {key: f"{then.get(key)} → {now.get(key)}" for key in now | then if now.get(key) != then.get(key)}
            environment = {key: started.get(key) for key in environment}
            if (later or changed) and (not later or later[-1] != changed):
                later = [*later, changed]
            environment |= {"later": later} if later else {}
        write_sealed(self.environment, {**environment, **fingerprints}, Identity(self.run, "environment", 0))
        return changed


def _folders(home: Path) -> list[Path]:
    """The plain folders in a folder."""
    return [Path(entry) for entry in (os.scandir(home) if home.is_dir() else ()) if entry.is_dir(follow_symlinks=False)]


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


def commit(inside: Path | None = None) -> str | None:
    """Return the commit of a folder's repository, marked when it has changes; None outside one.

    Args:
        inside: the folder; None is the current one.
    """
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            cwd=inside,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
