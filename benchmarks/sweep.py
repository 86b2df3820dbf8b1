"""Eight equal runs: one after the other with one thread, and on two Ray workers with one thread each."""

import argparse
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import evidence
from plora.sweep import SweepConfig, sweep


def seconds(workers: int, texts: int, folder: Path) -> float:
    """Wall time of the whole sweep, the start of its workers included."""
    config = SweepConfig.model_validate(
        {
            "name": f"workers-{workers}",
            "config": "quickstart/skills-per_task",
            "settings": {"training.epochs": 1, "stream.train_per_task": texts},
            "grid": {"seed": list(range(8))},
            "output": str(folder),
        }
    )
    started = time.perf_counter()
    result = sweep(config, workers, live=False)
    assert result.done == 8, result.failures
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1000, help="training texts per task")
    texts = parser.parse_args().texts
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        two = seconds(2, texts, Path(folder))
        one = seconds(1, texts, Path(folder))
    evidence.write(
        "sweep",
        {
            "runs": 8,
            "one_after_the_other_seconds": round(one, 1),
            "two_workers_seconds": round(two, 1),
            "speedup": round(one / two, 2),
        },
    )


if __name__ == "__main__":
    main()
