"""Turn the records of `make quickstart` into committed JSON: `python -m benchmarks.quickstart runs/quickstart`."""

import sys
from pathlib import Path

from benchmarks import evidence
from plora.atomic import JsonValue
from plora.results import find_runs


def main() -> None:
    rows: list[JsonValue] = []
    for folder, record in find_runs([Path(sys.argv[1])]).runs.items():
        metrics = {name: metric.value for name, metric in record.metrics.items()}
        rows.append(
            {
                "stream": record.name,
                "scenario": record.scenario,
                "method": record.method,
                "score": record.score.name,
                "accuracy": metrics["accuracy"],
                "backward_transfer": metrics["backward_transfer"],
                "forgetting": metrics["forgetting"],
                "tasks": list(record.tasks),
                "last_row": [float(cell) for cell in record.matrix[-1]],
                "trainable": max(cost.trainable_parameters for cost in record.cost),
                "seconds": round(sum(cost.seconds for cost in record.cost), 1),
                "seed": record.seed,
            }
        )
        print(folder, metrics["accuracy"])
    evidence.write("quickstart", {"runs": rows})


if __name__ == "__main__":
    main()
