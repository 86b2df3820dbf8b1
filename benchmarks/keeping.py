"""What it costs that nothing is lost: verified checkpoints, checkpoints inside a task, resuming, extending, disk.

MiniLM, r = 8 on q, k and v. Five docstring skills for what is timed; 50 tasks of 32 made-up texts for the disk. Then
a stream of `--tasks` such tasks, on a random network of two layers that leaves the time to the bookkeeping, command by
command: it is killed at its end, resumed, verified, resumed when there is nothing left to do, and reported.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from transformers import DistilBertConfig, DistilBertModel, DistilBertTokenizerFast

import plora.training.stream as loop
from benchmarks import evidence
from plora.atomic import JsonValue, write_json
from plora.backbones import BackboneConfig, load_backbone
from plora.build import Workspace
from plora.config import RunConfig, load_config, load_task
from plora.configs import find_config
from plora.events.console import Console
from plora.results import RESULTS_FILE, read_record
from plora.results.record.manifest import read_chain, read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.run_folder.step_checkpoint import StepCheckpoint
from plora.runs import extend, run

LORA = ["lora.rank=8", "lora.targets=[query,key,value]"]
DISK_TASKS = 50
MINUTE = 60.0
"""The default of `training.checkpoint_seconds`."""


@contextmanager
def timed(owner: object, name: str) -> Iterator[list[float]]:
    """Collect the seconds of every call of `owner.name`."""
    original: Callable[..., object] = getattr(owner, name)
    seconds: list[float] = []

    def wrapper(*arguments: object, **named: object) -> object:
        started = time.perf_counter()
        try:
            return original(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - started)

    setattr(owner, name, wrapper)
    try:
        yield seconds
    finally:
        setattr(owner, name, original)


def skills(output: Path, *settings: str) -> RunConfig:
    return load_config(
        find_config("quickstart/skills-per_task"), [*LORA, "training.epochs=1", f"output={output}", *settings]
    )


def many_tasks(folder: Path, tasks: int, method: str) -> dict[str, JsonValue]:
    """The config of tasks of two classes with 32 texts to train and validate and 8 to test each."""
    rng = random.Random(0)
    listed: list[JsonValue] = []
    for task in range(tasks):
        paths = {}
        for split, count in (("train", 32), ("test", 8)):
            paths[split] = folder / f"{task}-{split}.csv"
            with paths[split].open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["text", "label"])
                for number in range(count):
                    words = [f"word{task * 20 + (number % 2) * 10 + rng.randrange(10)}" for _ in range(8)]
                    rows.writerow([" ".join(words), "ab"[number % 2]])
        listed.append({"name": f"task-{task}", "train": str(paths["train"]), "test": str(paths["test"])})
    return {
        "name": "many",
        "stream": {"kind": "local", "name": "many", "tasks": listed},
        "scenario": "task",
        "method": method,
        "backbone": {"id": "minilm", "max_length": 32},
        "training": {"epochs": 1, "batch_size": 16},
        "output": str(folder / "runs"),
    }


def disk(tasks: int) -> list[dict[str, JsonValue]]:
    """Bytes in a run folder by the number of tasks, and seconds of a verified checkpoint early and late."""
    rows: list[dict[str, JsonValue]] = []
    for method in ("per_task", "o_lora"):
        with tempfile.TemporaryDirectory() as place, timed(loop, "save_checkpoint") as seconds:
            folder = RunFolder(run(load_config(many_tasks(Path(place), tasks, method), LORA), Console(live=False)))
            for number in range(10, tasks + 1, 10):
                manifests = [folder.checkpoint(n) / "manifest.json" for n in range(1, number + 1)]
                chain = [*read_chain(folder.path, number)]
                slots = {content for checkpoint in chain for content in checkpoint.slots.values()}
                heads = {content for checkpoint in chain for content in checkpoint.parts.values()}
                rows.append(
                    {
                        "method": method,
                        "tasks": number,
                        "slots_bytes": sum(_size(folder.slot(content)) for content in slots),
                        "heads_bytes": sum(_size(folder.head(content)) for content in heads),
                        "manifests_bytes": sum(map(_size, manifests)),
                        "predictions_bytes": sum(_size(folder.predictions(n)) for n in range(number + 1)),
                        "checkpoint_seconds": round(max(seconds[number - 10 : number]), 3),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def small_network(folder: Path, words: int) -> Path:
    """A random network of two layers, whose tokenizer knows the words of the tasks."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = {word: i for i, word in enumerate((*special, *(f"word{i}" for i in range(words))))}
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=16
    )
    DistilBertModel(config).save_pretrained(folder)
    DistilBertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


def growth(tasks: int) -> dict[str, JsonValue]:
    """Seconds of each command on a stream of many tasks, from process start to end, and bytes of what it leaves."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        values, config = many_tasks(place, tasks, "per_task"), place / "many.yaml"
        values |= {"backbone": {"id": str(small_network(place / "network", 20 * tasks)), "max_length": 16}}
        values |= {"lora": {"rank": 4}}
        write_json(config, values)  # JSON is YAML
        folder = RunFolder(load_config(values).folder)
        page, path = place / "report.html", str(folder.path)
        seconds: dict[str, JsonValue] = {}

        def measured(what: str, *command: str, killed_at: str = "") -> None:
            seconds[what] = round(command_seconds([*command], killed_at), 1)
            print(what, seconds[what], flush=True)

        measured("run_until_killed", "run", str(config), killed_at=f"checkpointed:{tasks}")
        measured("resume_killed", "resume", path)
        measured("verify", "verify", path)
        measured("resume_finished", "resume", path)
        measured("report", "report", path, "--out", str(page))
        manifests = [_size(file) for file in folder.path.glob("checkpoints/*/manifest.json")]
        return {
            "tasks": tasks,
            "method": "per_task",
            "seconds": seconds,
            "bytes": {
                "run_folder": _size_of_all(folder.path),
                "slots": _size_of_all(folder.path / "slots"),
                "manifests": sum(manifests),
                "largest_manifest": max(manifests),
                "predictions": _size_of_all(folder.path / "predictions"),
                "results": _size(folder.path / RESULTS_FILE),
                "page": _size(page),
            },
        }


def slot(folder: RunFolder) -> dict[str, JsonValue]:
    """Bytes of one slot on disk, and of its tensors alone."""
    rank, width, blocks, sites = 8, 384, 6, 3
    home = folder.slot(next(iter(read_checkpoint(folder.path, 1).slots.values())))
    tensors = blocks * sites * 2 * rank * width * 4
    return {"folder_bytes": _size(home), "tensor_bytes": tensors, "more_bytes": _size(home) - tensors}


def command_seconds(command: list[str], killed_at: str = "") -> float:
    """Seconds of `plora …` from process start to end, or to the point at which it is killed.

    Args:
        command: after `plora`.
        killed_at: of `plora.failpoints`; nowhere when empty.
    """
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", "from plora.cli import main; main()", *command],
        env={**os.environ, "PLORA_FAILPOINT": killed_at},
        capture_output=True,
        check=False,
    )
    assert done.returncode == (-signal.SIGKILL if killed_at else 0), done.stderr.decode()
    return time.perf_counter() - started


def resuming(place: Path, rounds: int) -> dict[str, JsonValue]:
    """Seconds until a cut run trains again, and of loading its backbone alone."""
    config = skills(place / "cut", "training.checkpoint_seconds=0")
    given = [
        "run",
        "quickstart/skills-per_task",
        *LORA,
        "training.epochs=1",
        "training.checkpoint_seconds=0",
        f"output={place / 'cut'}",
    ]
    command_seconds(given, "step_saved:150")  # in the third task
    seconds, backbone = [], []
    for _ in range(rounds):
        seconds.append(command_seconds(["resume", str(config.folder)], "micro_batch:1"))
        started = time.perf_counter()
        load_backbone(BackboneConfig(id="minilm"))
        backbone.append(time.perf_counter() - started)
    return {
        "resume_seconds": round(float(np.median(seconds)), 2),
        "backbone_seconds": round(float(np.median(backbone)), 2),
        "beyond_backbone_seconds": round(float(np.median(seconds) - np.median(backbone)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000, help="of the long stream; 0 leaves it out")
    parser.add_argument("--long-only", action="store_true", help="measure the long stream and nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.long_only:
        short(arguments.rounds)
    if arguments.tasks:
        command = f"python -m benchmarks.keeping --long-only --tasks {arguments.tasks}"
        evidence.write("keeping-many", growth(arguments.tasks), command)


def short(rounds: int) -> None:
    """Measure and write what few tasks cost, and the disk that DISK_TASKS take."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        workspace = Workspace()
        quiet = Console(live=False)
        run(skills(place / "warm", "stream.train_per_task=64"), quiet, workspace)

        # ------------------------------------------------------------------ a run, and how it is kept
        with timed(loop, "save_checkpoint") as checkpoints:
            started = time.perf_counter()
            whole = run(skills(place / "whole"), quiet, workspace)
            whole_seconds = time.perf_counter() - started
        with timed(StepCheckpoint, "save") as saves:
            run(skills(place / "saving", "training.checkpoint_seconds=1"), quiet, workspace)
        numbers: dict[str, JsonValue] = {
            "slot": slot(RunFolder(whole)),
            "checkpoint_seconds": round(max(checkpoints), 3),
            "run_seconds": round(whole_seconds, 1),
            "step_checkpoint": {
                "seconds": round(float(np.median(saves)), 4),
                "saves": len(saves),
                "share_at_default": round(float(np.median(saves)) / MINUTE, 5),
            },
        }
        print(numbers, flush=True)

        # ------------------------------------------------------------------ a task more
        texts = place / "new.csv"
        with texts.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            rng = random.Random(1)
            for number in range(1200):
                words = [f"word{(number % 2) * 10 + rng.randrange(10)}" for _ in range(40)]
                table.writerow([" ".join(words), "ab"[number % 2]])
        started = time.perf_counter()
        extend(whole, load_task(texts, ["name=new"]), quiet, workspace)
        seconds = time.perf_counter() - started
        alone = skills(place / "alone", f"stream={{kind: local, tasks: [{{name: new, train: '{texts}'}}]}}")
        started = time.perf_counter()
        alone_folder = run(alone, quiet, workspace)
        numbers["extend"] = {
            "extend_seconds": round(seconds, 1),
            "task_alone_seconds": round(time.perf_counter() - started, 1),
            "training_seconds_in_extend": round(read_record(whole).cost[-1].seconds, 1),
            "training_seconds_alone": round(read_record(alone_folder).cost[-1].seconds, 1),
        }
        print(numbers["extend"], flush=True)

        numbers["resume"] = resuming(place, rounds)
        print(numbers["resume"], flush=True)
    numbers["disk"] = disk(DISK_TASKS)
    evidence.write("keeping", numbers)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in path.iterdir())


def _size_of_all(folder: Path) -> int:
    return sum(_size(file) for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
