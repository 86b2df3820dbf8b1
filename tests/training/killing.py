"""Runs in child processes that die: forked, because importing torch anew for each would take minutes."""

import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from plora.errors import PloraError
from plora.events.console import Console
from plora.failpoints import ENVIRONMENT
from plora.results import ClassRankings, read_curves
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder

KILLED, REFUSED, FAILED = -signal.SIGKILL, 2, 1


def in_child(work: Callable[[], object], failpoint: str = "", after: float | None = None, most_bytes: int = -1) -> int:
    """Do `work` in a forked process and return its exit status, negative for a signal.

    Args:
        work: is called once.
        failpoint: where the child kills itself.
        after: seconds until it is killed from outside.
        most_bytes: size above which it can write no file.
    """
    child = os.fork()
    if child == 0:
        try:
            os.environ[ENVIRONMENT] = failpoint
            torch.set_num_threads(1)  # the parent's threads do not exist here
            if most_bytes >= 0:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, resource.RLIM_INFINITY))
            work()
            os._exit(0)
        except PloraError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            Path(os.environ.get("REFUSAL", os.devnull)).write_text(str(error), encoding="utf-8")
            os._exit(REFUSED)
        except BaseException:
            # Else a traceback that does not fit raises here, and the child goes on as a second pytest.
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            traceback.print_exc()
            os._exit(FAILED)
    if after is not None:
        deadline = time.monotonic() + after
        while time.monotonic() < deadline:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def quiet(events: Path | None = None) -> Console:
    """A console that shows nothing, and keeps the names of events in a file."""

    class Quiet(Console):
        def event(self, name: str, **fields: object) -> None:
            if events is not None:
                with events.open("a", encoding="utf-8") as file:
                    file.write(f"{name}\n")

        def progress(self, *_: object, **__: object) -> None:
            pass

        def say(self, text: str) -> None:
            pass

    return Quiet(live=False)


def snapshot(path: Path) -> dict[str, object]:
    """All of a run folder that the same seed gives again: weights, predictions, record."""
    folder = RunFolder(path)
    content: dict[str, object] = {"results": (path / "results.json").read_bytes()}
    for number in folder.complete():
        manifest = read_checkpoint(folder.path, number)
        content[f"weights {number}"] = (manifest.tasks, manifest.slots, manifest.parts)
        backbone = folder.checkpoint(number) / "backbone.safetensors"
        content[f"backbone {number}"] = backbone.read_bytes() if backbone.exists() else None
        # What no two runs have in common.
        measured = {"seconds": 0.0, "strategy_seconds": 0.0, "peak_memory_bytes": None, "energy_joules": None}
        content[f"counts {number}"] = replace(manifest.cost, **measured)
    for file in sorted(path.glob("predictions/*.parquet")):
        predictions = ClassRankings.read(file)
        content[file.name] = (
            predictions.task.tolist(),
            predictions.ranking.tolist(),
            predictions.probabilities.tobytes(),
            predictions.class_names,
        )
    content["generated"] = [file.read_bytes() for file in sorted(path.glob("generated/*"))]
    content["files"] = sorted(
        file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file() and file.name != ".lock"
    )
    points = read_curves(path / "curves.jsonl") if (path / "curves.jsonl").exists() else []
    content["curves"] = [
        (p.task, p.step, p.epoch, p.loss, p.terms, p.learning_rate, p.diagnostics, p.validation) for p in points
    ]
    return content
