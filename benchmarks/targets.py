"""Label sets, numbers and documents of docstrings: `python -m benchmarks.targets labels numbers domains` writes JSON.

Shipped configs with methods between a floor and a ceiling, three seeds each; `--quick` runs a few texts and one
seed, so that it is seen to work, and writes nothing. What is done already is read.
"""

import argparse
from math import isfinite
from pathlib import Path

from benchmarks import evidence
from plora.atomic import JsonValue
from plora.build import Workspace
from plora.config import load_config
from plora.configs import find_config
from plora.events.console import Console
from plora.results import SCORES, read_measurements, read_record
from plora.run_folder.folder import RunFolder
from plora.runs import resume, run

STREAMS = {
    "labels": "text_multi_label/docstrings",
    "numbers": "text_regression/docstrings",
    "domains": "causal_lm/domains",
}
METHODS: dict[str, tuple[str, ...]] = {
    "frozen": ("method=frozen",),
    "frozen-ridge": ("method=frozen", "head=ridge"),
    "sequential": ("method=sequential",),
    "merged_average": ("method=merged_average",),
    "per_task": ("method=per_task",),
    "joint": ("method=joint",),
}
_TARGETS = ("stream.train_per_task=40", "stream.validation_per_task=20", "stream.test_per_task=20")
QUICK = {
    "labels": _TARGETS,
    "numbers": _TARGETS,
    "domains": ("stream.train_bytes=20000", "stream.validation_bytes=2000", "stream.test_bytes=4000"),
}


def methods(stream: str) -> list[tuple[str, ...]]:
    """The settings of each row of a stream's table; what writes has no head to train alone."""
    return [settings for name, settings in METHODS.items() if stream != "domains" or not name.startswith("frozen")]


def row(folder: Path) -> dict[str, JsonValue]:
    """What one run of the table is: its own score with what was forgotten, and the others after the last task."""
    record, number = read_record(folder), len(read_record(folder).tasks)
    measured = read_measurements(RunFolder(folder).predictions(number)).by_task()
    scores = [SCORES[name] for name in type(next(iter(measured.values()))).scores]
    means = {score.name: sum(one.value(score) for one in measured.values()) / len(measured) for score in scores}
    others: dict[str, JsonValue] = {name: mean for name, mean in means.items() if isfinite(mean)}
    before = [float(value) for value in record.matrix[0]]
    metrics = {name: record.metrics[name].value for name in ("accuracy", "backward_transfer", "forgetting")}
    return {
        "method": record.method,
        "seed": record.seed,
        "score": record.score.to_json(),
        "tasks": list(record.tasks),
        "texts": [record.data[0].train, record.data[0].test],
        "before": sum(before) / len(before),
        **metrics,
        "scores": others,
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="+", choices=STREAMS)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    for stream in given.streams:
        rows: list[JsonValue] = []
        shared = Workspace()
        for seed in range(1 if given.quick else 3):
            for settings in methods(stream):
                small = (*QUICK[stream], "training.epochs=1") if given.quick else ()
                config = load_config(
                    find_config(STREAMS[stream]), [*settings, f"seed={seed}", f"output={given.output}", *small]
                )
                there = config.folder.exists()
                folder = resume(config.folder, Console(live=False)) if there else run(config, workspace=shared)
                rows.append(row(folder))
                print(rows[-1], flush=True)
            if not given.quick:
                evidence.write(f"targets-{stream}", {"runs": rows}, f"python -m benchmarks.targets {stream}")


if __name__ == "__main__":
    main()
