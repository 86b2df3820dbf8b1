"""The shipped sweep on handwritten digits, as committed JSON: `python -m benchmarks.digits`.

The backbone is pretrained where it is missing, a sweep that was cut goes on, and one that is done is read.
"""

import argparse
from pathlib import Path

from pydantic import JsonValue

from benchmarks import evidence
from plora.configs import find_sweep
from plora.results import find_runs, read_record
from plora.results.tables.all_metrics import metrics_of_path
from plora.runs.pretraining import make_missing
from plora.sweep import load_sweep, plan_runs, plan_studies, sweep


def row(folder: Path) -> dict[str, JsonValue]:
    """What one run of the table is."""
    record = read_record(folder)
    metrics = {metric.name: metric.value for metric in metrics_of_path(folder).metrics}
    return {
        "method": record.method,
        "scenario": record.scenario,
        "seed": record.seed,
        "tasks": list(record.tasks),
        "train_images": sum(task.train for task in record.data),
        "test_images": sum(task.test for task in record.data),
        **{name: metrics[name] for name in ("accuracy", "average_incremental_accuracy", "forgetting")},
        "trainable": max(cost.trainable_parameters for cost in record.cost),
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    given = parser.parse_args()
    config = load_sweep(find_sweep("sweeps/digits"), [f"output={given.output}"])
    make_missing(one.config for one in plan_runs(config))
    result = sweep(config, given.workers, live=False)
    assert not result.failures, result.failures
    studies = plan_studies(config)
    chosen: dict[str, JsonValue] = {
        study.label: dict(study.chosen.settings) for study in studies if study.chosen is not None
    }
    assert config.search is not None
    searched: dict[str, JsonValue] = {key: [*(setting.values() or ())] for key, setting in config.search.space.items()}
    rows: list[JsonValue] = [row(folder) for folder in find_runs([result.folder]).runs]
    evidence.write(
        "digits",
        {"runs": rows, "chosen_on_validation": chosen, "searched": searched},
        f"python -m benchmarks.digits --workers {given.workers}"
        if given.workers > 1
        else "python -m benchmarks.digits",
    )


if __name__ == "__main__":
    main()
