"""Arguments that docstrings mention, library after library, as committed JSON: `python -m benchmarks.arguments`.

Methods of token classification on `token_classification/arguments`, three seeds each; runs that are done are read.
`--small` learns 40 sentences a task for one epoch, with one seed, to see that it works; it writes no JSON.
"""

import argparse
from pathlib import Path

from pydantic import JsonValue

from benchmarks import evidence
from plora.build import Workspace
from plora.config import load_config
from plora.configs import find_config
from plora.results import RESULTS_FILE, matrix_table, read_record
from plora.results.tables.all_metrics import metrics_of_path
from plora.runs import resume, run

METHODS: dict[str, tuple[str, ...]] = {
    "frozen": ("training.epochs=10", "training.learning_rate=0.01", "training.groups=[]"),
    "sequential": (),
    "merged_average": (),
    "joint": (),
    "per_task": ("scenario=task",),
}
"""Method → what is not as the config has it; `per_task` is told the task, and has a head for each."""
_SMALL = ("stream.train_per_task=40", "stream.validation_per_task=10", "stream.test_per_task=40", "training.epochs=1")


def learned(method: str, seed: int, output: Path, more: tuple[str, ...], workspace: Workspace) -> Path:
    """Return the folder of a run, which is gone on with where it was cut."""
    overrides = [f"method={method}", f"seed={seed}", f"output={output}", *METHODS[method], *more]
    config = load_config(find_config("token_classification/arguments"), overrides)
    if not config.folder.exists():
        return run(config, workspace=workspace)
    done = (config.folder / RESULTS_FILE).exists() and read_record(config.folder).complete
    return config.folder if done else resume(config.folder, workspace=workspace)


def row(folder: Path) -> dict[str, JsonValue]:
    """What one run of the table is."""
    record = read_record(folder)
    metrics = {metric.name: metric.value for metric in metrics_of_path(folder).metrics}
    of_all = ("entity_f1", "entity_f1_strict", "word_accuracy")
    return {
        "method": record.method,
        "scenario": record.scenario,
        "seed": record.seed,
        "tasks": list(record.tasks),
        "train_sentences": sum(task.train for task in record.data),
        "test_sentences": sum(task.test for task in record.data),
        **{name: metrics.get(name) for name in ("forgetting", *of_all)},
        "mean": float(record.matrix[-1].mean()),
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    workspace, rows = Workspace(), list[JsonValue]()
    for seed in range(1 if given.small else 3):
        for method in METHODS:
            folder = learned(method, seed, given.output, _SMALL if given.small else (), workspace)
            rows.append(row(folder))
            print(matrix_table(read_record(folder)), flush=True)
        if not given.small:
            evidence.write("arguments", {"runs": rows}, "python -m benchmarks.arguments")
    if given.small:
        print(*rows, sep="\n")


if __name__ == "__main__":
    main()
