"""Every text method on real text: settings chosen on validation data, three seeds, then two more orders of the tasks.

    python -m benchmarks.text docstrings
    python -m benchmarks.text sentiment --data FOLDER
    python -m benchmarks.text five-texts --data FOLDER

Each is one sweep in the profile `bench`: few texts, adapters in the last three blocks. `docstrings` needs nothing more.
The others read FOLDER/<task>/train.parquet and test.parquet (columns text and label) and labels.txt (a name per line)
of the data sets that the shipped configs load from the hub; of `five-texts`, two floors are learned from all texts,
too. A sweep that was cut goes on where it was.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from benchmarks import evidence
from plora.results import find_runs, read_record
from plora.results.all_metrics import metrics_of_path
from plora.sweep import SweepConfig, plan_studies, sweep
from plora.sweep.plan import plan_runs

SEEDS: tuple[JsonValue, ...] = (0, 1, 2)
TRAINED = (
    *("frozen", "sequential", "joint", "first_session", "routed", "replay", "der", "generative_replay", "lwf"),
    *("ewc", "online_ewc", "ewc_lora", "o_lora", "n_lora", "merged_average", "merged_ties", "merged_magmax"),
)
SOLVED = ("ncm", "ridge", "ranpac")
_POLARITY: JsonValue = {
    "very negative": "negative",
    "negative": "negative",
    "neutral": None,
    "positive": "positive",
    "very positive": "positive",
}
_GOOD_OR_BAD: JsonValue = {"Bad": "negative", "Good": "positive"}
STREAMS: Mapping[str, Mapping[str, JsonValue]] = {
    "docstrings": {
        "scenario": "class",
        "stream": {"kind": "docstring_topics", "train_per_class": 20, "validation_per_class": 10, "test_per_class": 20},
        "tasks": ["scipy", "sympy", "sklearn", "torch", "stdlib"],
    },
    "sentiment": {
        "scenario": "domain",
        "stream": {
            "kind": "local",
            "name": "sentiment",
            "train_per_class": 100,
            "validation_per_class": 25,
            "test_per_class": 100,
        },
        "tasks": ["yelp", "imdb", "amazon", "sst2"],
        "maps": {"yelp": _POLARITY, "amazon": _POLARITY, "imdb": _GOOD_OR_BAD, "sst2": _GOOD_OR_BAD},
    },
    "five-texts": {
        "scenario": "class",
        "stream": {
            "kind": "local",
            "name": "five-texts",
            "distinct_labels": True,
            "train_per_class": 30,
            "validation_per_class": 10,
            "test_per_class": 15,
        },
        "tasks": ["yelp", "amazon", "dbpedia", "yahoo", "agnews"],
    },
}
"""By name: scenario, where the texts come from, the order of the tasks, and labels that become others."""


def orders(tasks: list[JsonValue]) -> list[list[JsonValue]]:
    """Two more orders: backwards, and from the middle on."""
    middle = len(tasks) // 2
    return [tasks[::-1], tasks[middle:] + tasks[:middle]]


def stream(name: str, data: Path | None) -> dict[str, JsonValue]:
    """The `stream:` of a config."""
    values = dict(STREAMS[name]["stream"])  # type: ignore[arg-type]
    tasks, maps = STREAMS[name]["tasks"], STREAMS[name].get("maps", {})
    assert isinstance(tasks, list)
    assert isinstance(maps, dict)
    if values["kind"] == "local":
        assert data is not None
        values["tasks"] = [
            {
                "name": str(task),
                "train": str(data / str(task) / "train.parquet"),
                "test": str(data / str(task) / "test.parquet"),
                "label_names": str(data / str(task) / "labels.txt"),
                **({"map": maps[str(task)]} if str(task) in maps else {}),
            }
            for task in tasks
        ]
    return values


def plan(name: str, data: Path | None, output: Path) -> SweepConfig:
    """The sweep of one stream."""
    tasks = STREAMS[name]["tasks"]
    assert isinstance(tasks, list)
    more: list[dict[str, JsonValue]] = [{"method": "frozen", "head": head} for head in SOLVED]
    in_turn = [method for method in TRAINED if method != "joint"]
    more += [{"method": method, "order": order, "seed": 0} for method in in_turn for order in orders(tasks)]
    penalties: dict[str, dict[str, JsonValue]] = {
        "ewc": {"kind": "ewc"},
        "online_ewc": {"kind": "ewc", "decay": 0.95},
        "ewc_lora": {"kind": "ewc_lora"},
    }
    own: dict[str, dict[str, list[JsonValue]]] = {
        method: {
            "strategies": [[{**strategy, "weight": weight, "samples": 100}] for weight in (1e2, 1e4, 1e6)],
            "training.learning_rate": [0.002, 0.001],
        }
        for method, strategy in penalties.items()
    }
    own["generative_replay"] = {"strategies": [[{"kind": "generative_replay", "per_class": 10}]]}
    own["replay"] = {"strategies": [[{"kind": "replay", "weight": weight}] for weight in (1, 3)]}
    own["der"] = {"strategies": [[{"kind": "replay", "weight": 1, "scores_weight": alpha}] for alpha in (0.1, 0.5)]}
    return SweepConfig.model_validate(
        {
            "name": f"text-{name}",
            "config": {
                "stream": stream(name, data),
                "scenario": STREAMS[name]["scenario"],
                "backbone": {"id": "minilm", "max_length": 48},
                "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "attention", "layers": "last 3"},
                "training": {"epochs": 4, "batch_size": 8, "precision": "bf16"},
            },
            "grid": {"method": list(TRAINED), "seed": list(SEEDS)},
            "runs": more,
            "search": {
                "trials": 9,
                "at_once": 9,
                "space": {"training.learning_rate": [0.002, 0.001, 0.004]},
                "methods": own,
            },
            "output": str(output),
        }
    )


def listed(name: str, data: Path | None, output: Path) -> SweepConfig:
    """Two strategies in one list: what `plan` asks of one method, asked of replay and distillation together."""
    alone = plan(name, data, output)
    assert alone.search is not None
    return alone.model_copy(
        update={
            "name": f"text-{name}-listed",
            "settings": {"strategies": [{"kind": "replay"}, {"kind": "distillation"}]},
            "grid": {"method": ["replay"], "seed": list(SEEDS)},
            "runs": [run for run in alone.runs if run["method"] == "replay"],
            "search": alone.search.model_copy(update={"methods": {}}),
        }
    )


def floors(name: str, data: Path | None, output: Path) -> SweepConfig:
    """What takes seconds on all texts at their usual length, without a search: solved heads, and heads of each task."""
    caps = ("train_per_class", "validation_per_class", "test_per_class")
    return SweepConfig.model_validate(
        {
            "name": f"text-{name}-floors",
            "config": {
                "stream": {key: value for key, value in stream(name, data).items() if key not in caps},
                "scenario": "class",
                "backbone": {"id": "minilm", "max_length": 128},
                "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "attention", "layers": "last 3"},
                "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.002, "precision": "bf16"},
                "seed": 0,
            },
            "runs": [
                *({"method": "frozen", "head": head} for head in (*SOLVED, "linear")),
                *({"method": "frozen", "head": head, "scenario": "task"} for head in (*SOLVED, "linear")),
                {"method": "sequential", "scenario": "task"},
            ],
            "output": str(output),
        }
    )


def row(folder: Path) -> dict[str, JsonValue]:
    """What one run of the table is."""
    record = read_record(folder)
    metrics = {metric.name: metric.value for metric in metrics_of_path(folder).metrics}
    strategies = record.settings["strategies"]
    assert isinstance(strategies, list)
    kinds = [str(strategy["kind"]) for strategy in strategies if isinstance(strategy, dict)]
    return {
        "method": record.method if len(kinds) < 2 else " + ".join(kinds),
        "scenario": record.scenario,
        "seed": record.seed,
        "tasks": list(record.tasks),
        "train_texts": sum(task.train for task in record.data),
        **{name: metrics[name] for name in ("accuracy", "average_incremental_accuracy", "forgetting", "task_accuracy")},
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
        "strategy_bytes": max(cost.strategy_bytes for cost in record.cost),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", choices=list(STREAMS))
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    given = parser.parse_args()
    if given.data is None and given.stream != "docstrings":
        parser.error(f"{given.stream} needs --data FOLDER")
    makers = [plan, listed, floors] if given.stream == "five-texts" else [plan, listed]
    configs = [make(given.stream, given.data, given.output) for make in makers]
    started = time.perf_counter()
    results = [sweep(config, given.workers, live=False) for config in configs]
    seconds = time.perf_counter() - started
    for result in results:
        assert not result.failures, result.failures
    rows = [[row(folder) for folder in find_runs([result.folder]).runs] for result in results]
    studies = {
        f"{study.label} listed" if number else study.label: study
        for number, config in enumerate(configs)
        for study in plan_studies(config)
    }
    chosen: dict[str, JsonValue] = {
        label: dict(study.chosen.settings) for label, study in studies.items() if study.chosen is not None
    }
    searched: dict[str, JsonValue] = {
        label: {key: [*(setting.values() or ())] for key, setting in study.search.space.items()}
        for label, study in studies.items()
    }
    evidence.write(
        f"text-{given.stream}",
        {
            "scenario": STREAMS[given.stream]["scenario"],
            "planned_runs": sum(len(plan_runs(config)) for config in configs),
            "minutes": round(seconds / 60, 1),
            "learned_now": sum(result.done for result in results),
            "chosen_on_validation": chosen,
            "searched": searched,
            "runs": [*rows[0], *rows[1]],
            "floors": rows[2] if len(rows) > 2 else [],
        },
        f"python -m benchmarks.text {given.stream}{'' if given.data is None else ' --data FOLDER'}",
    )


if __name__ == "__main__":
    main()
