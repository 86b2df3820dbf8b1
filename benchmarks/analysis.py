"""How long metrics, tables and statistics of many large runs take, and how much memory.

Made-up run folders: 20 methods × 5 seeds, 20 tasks of 10,000 test examples each, so 200,000 predictions after the last
task of each run. A process of its own then writes the table of methods with every metric that a run folder gives, those
of its predictions too, and the paired differences of ACC between all pairs of methods. Making the folders is not
counted.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from plora.results import (
    FURTHER,
    METRICS,
    ClassRankings,
    RunRecord,
    StreamInfo,
    TaskCost,
    TaskData,
    write_record,
    write_table,
)

CLASSES = 5  # of each task
ALL = [definition.name for definition in METRICS] + [definition.name for definition in FURTHER]


def make(folder: Path, method: int, seed: int, tasks: int, examples: int) -> None:
    """Write what the analysis reads of one run; its last row of accuracies is that of its predictions."""
    rng = np.random.default_rng([method, seed])
    names = tuple(f"task {number}" for number in range(1, tasks + 1))
    of_task = np.repeat(np.arange(tasks), examples)
    label = CLASSES * of_task + rng.integers(0, CLASSES, len(of_task))
    wrong = CLASSES * of_task + rng.integers(0, CLASSES, len(of_task))
    right = rng.random(len(of_task)) < rng.uniform(0.4, 0.6) + 0.015 * method
    prediction = np.where(right, label, wrong)
    R = np.full((tasks + 1, tasks), np.nan)
    R[1:] = np.where(np.tri(tasks, dtype=bool), np.clip(rng.normal(0.8, 0.05, (tasks, tasks)), 0, 1), np.nan)
    R[-1] = (prediction == label).reshape(tasks, examples).mean(axis=1)
    record = RunRecord(
        name="made-up",
        method=f"method {method:02}",
        method_summary="made up",
        scenario="class",
        stream=StreamInfo("made-up stream", "5f0c" * 16),
        seed=seed,
        tasks=names,
        matrix=R,
        status=tuple("evaluated" for _ in names),
        cost=tuple(TaskCost(name, 14.2, 120, 2.0, 3840, 210_000, 150_532, 602_128, 612_000_000) for name in names),
        data=tuple(TaskData(name, CLASSES, 1920, 200, examples, 0.0, 0, {"train": "ab" * 32}) for name in names),
        warnings=(),
        complete=True,
    )
    ranking = (prediction[:, None] // CLASSES) * CLASSES + (prediction[:, None] + np.arange(CLASSES)) % CLASSES
    probabilities = -np.sort(-rng.dirichlet([1.0] * CLASSES, len(label)), axis=1)
    predictions = ClassRankings(
        np.array(names)[of_task],
        np.tile(np.arange(examples, dtype=np.int32), tasks),
        label.astype(np.int32),
        ranking.astype(np.int32),
        probabilities.astype(np.float32),
        tuple(f"class {number}" for number in range(CLASSES * tasks)),
    )
    write_record(folder, record)
    predictions.write(folder / "predictions" / f"task-{tasks:02}.parquet")


def analyse(folder: Path) -> None:
    """Write both tables; print how long each took and the peak memory of this process as one JSON line."""
    started = time.perf_counter()
    methods, _ = write_table([folder], metrics=ALL)
    between = time.perf_counter()
    differences, _ = write_table([folder], "differences", format="csv")
    ended = time.perf_counter()
    assert "macro-F1" in methods
    print(
        json.dumps(
            {
                "methods_seconds": round(between - started, 1),
                "differences_seconds": round(ended - between, 1),
                "pairs": len(differences.splitlines()) - 1,
                "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # the process that is measured
    options = parser.parse_args()
    if options.folder is not None:
        analyse(options.folder)
        return
    from benchmarks import evidence  # needs torch, which the process that is measured does not

    with tempfile.TemporaryDirectory() as name:
        for method in range(options.methods):
            for seed in range(options.seeds):
                folder = Path(name) / f"method-{method:02}" / f"seed-{seed}"
                make(folder, method, seed, options.tasks, options.examples)
        print("folders are made", flush=True)
        started = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.analysis", "--folder", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    measured = json.loads(done.stdout.splitlines()[-1])
    print(measured, f"{seconds:.1f} s in all", flush=True)
    evidence.write(
        "analysis",
        {
            "runs": options.methods * options.seeds,
            "methods": options.methods,
            "tasks": options.tasks,
            "examples_per_task": options.examples,
            "metrics": len(ALL),
            "seconds": round(seconds, 1),
            **measured,
        },
    )


if __name__ == "__main__":
    main()
