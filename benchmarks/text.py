"""Every text method on real text: settings chosen on validation data, three seeds, then two more orders of the tasks.

    python -m benchmarks.text docstrings
    python -m benchmarks.text sentiment --data FOLDER
    python -m benchmarks.text five-texts --data FOLDER

Each is one sweep in the profile `bench`: few texts to train, adapters in the last three blocks; and one more of
`per_task`, which is told the task. Every method has the same number of trials, `joint` too, over the same wide range of
learning rates and, where it has a weight of its own, over that. Of `five-texts` all test texts are scored, 500 of each
task, and a tenth of the training files, 200 of each, chooses. `docstrings` needs nothing more.
The others read FOLDER/<task>/train.parquet and test.parquet (columns text and label) and labels.txt (a name per line)
of the data sets that the shipped configs load from the hub; of `five-texts`, two floors are learned from all texts,
too. A sweep that was cut goes on where it was. `--methods` measures some methods anew and keeps the other rows, each
with the call, commit, day and machine that measured it.
"""

import argparse
import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from benchmarks import evidence
from plora.results import find_runs, read_record
from plora.results.tables.all_metrics import metrics_of_path
from plora.sweep import SweepConfig, plan_studies, sweep
from plora.sweep.plan import plan_runs

SEEDS: tuple[JsonValue, ...] = (0, 1, 2)
TRAINED = (
    *("frozen", "sequential", "joint", "first_session", "routed", "replay", "der", "generative_replay", "lwf"),
    *("ewc", "online_ewc", "ewc_lora", "o_lora", "n_lora", "merged_average", "merged_ties", "merged_magmax"),
)
SOLVED = ("ncm", "ridge", "ranpac")
LISTED, TOLD = "replay + distillation", "per_task"
ROWS = (*TRAINED, *(f"frozen-{head}" for head in SOLVED), LISTED, TOLD)
TRIALS = 9
"""Of every study, whatever the number of its settings."""
RATES: JsonValue = {"low": 2.5e-4, "high": 3.2e-2, "log": True}
SCALES: JsonValue = {"low": 0.1, "high": 4.0, "log": True}
TENS, THOUSANDS = (0.3, 1, 3, 10, 30), (0.01, 1, 100, 1e4, 1e6)
WEIGHTS: Mapping[str, tuple[Mapping[str, JsonValue], str, tuple[float, ...]]] = {
    "replay": ({"kind": "replay"}, "weight", TENS),
    "der": ({"kind": "replay", "weight": 1}, "scores_weight", (0.01, 0.03, 0.1, 0.3, 1, 3)),
    "generative_replay": ({"kind": "generative_replay", "per_class": 10}, "weight", (0.1, 0.3, 1, 3, 10)),
    "lwf": ({"kind": "distillation"}, "weight", (0.25, 1, 4, 16, 64, 256)),
    "ewc": ({"kind": "ewc", "samples": 100}, "weight", THOUSANDS),
    "online_ewc": ({"kind": "ewc", "decay": 0.95, "samples": 100}, "weight", THOUSANDS),
    "ewc_lora": ({"kind": "ewc_lora", "samples": 100}, "weight", THOUSANDS),
    "o_lora": ({"kind": "orthogonality"}, "weight", (0.005, 0.05, 0.5, 5, 50)),
    "n_lora": ({"kind": "sparsity"}, "weight", (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)),
}
"""Method → its strategy, which number of it is searched, and among which values."""
ORIGIN = ("command", "commit", "date", "hardware", "threads", "versions")
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


@dataclass(frozen=True)
class Asked:
    """What to measure: a stream, where its data and its runs are, in which precision, and which methods."""

    name: str
    data: Path | None
    output: Path
    precision: str
    methods: tuple[str, ...]


def plan(asked: Asked) -> SweepConfig:
    """The sweep of one stream."""
    name, data, methods = asked.name, asked.data, asked.methods
    tasks = STREAMS[name]["tasks"]
    assert isinstance(tasks, list)
    solved = [head for head in SOLVED if f"frozen-{head}" in methods]
    more: list[dict[str, JsonValue]] = [{"method": "frozen", "head": head} for head in solved]
    trained = [method for method in TRAINED if method in methods]
    in_turn = [method for method in trained if method != "joint"]
    more += [{"method": method, "order": order, "seed": 0} for method in in_turn for order in orders(tasks)]
    own: dict[str, dict[str, JsonValue]] = {
        method: {"strategies": [[{**strategy, key: value}] for value in values]}
        for method, (strategy, key, values) in WEIGHTS.items()
    }
    own |= {method: {"merging.scale": SCALES} for method in trained if method.startswith("merged_")}
    return SweepConfig.model_validate(
        {
            "name": f"text-{name}",
            "config": {
                "stream": stream(name, data),
                "scenario": STREAMS[name]["scenario"],
                "backbone": {"id": "minilm", "max_length": 48},
                "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "attention", "layers": "last 3"},
                "training": {"epochs": 4, "batch_size": 8, "precision": asked.precision},
            },
            "grid": {"method": list(trained), "seed": list(SEEDS)},
            "runs": more,
            "search": {
                "trials": TRIALS,
                "at_once": 3,
                "space": {"training.learning_rate": RATES},
                "methods": {method: space for method, space in own.items() if method in methods},
            },
            "output": str(asked.output),
        }
    )


def listed(asked: Asked) -> SweepConfig:
    """Two strategies in one list, each with its weight: what `plan` asks of one method, asked of two together."""
    both: list[JsonValue] = [
        [{"kind": "replay", "weight": weight}, {"kind": "distillation", "weight": held}]
        for weight in TENS
        for held in (0.25, 1, 4, 16, 64)
    ]
    return _alone(asked, "listed", "replay", {"strategies": both})


def told(asked: Asked) -> SweepConfig:
    """A slot per task where the task is told: what `plan` asks of each method, in the scenario that has a meaning."""
    return _alone(asked, "told", TOLD, {}).model_copy(update={"settings": {"scenario": "task"}})


def _alone(asked: Asked, name: str, method: str, own: dict[str, JsonValue]) -> SweepConfig:
    """What `plan` asks of a method, of another one with settings of its own."""
    values = plan(replace(asked, methods=("sequential",))).model_dump(mode="json")
    return SweepConfig.model_validate(
        {
            **values,
            "name": f"text-{asked.name}-{name}",
            "grid": {**values["grid"], "method": [method]},
            "runs": [{**run, "method": method} for run in values["runs"]],
            "search": {**values["search"], "space": {**values["search"]["space"], **own}},
        }
    )


def floors(asked: Asked) -> SweepConfig:
    """What takes seconds on all texts at their usual length, without a search: solved heads, and heads of each task."""
    caps = ("train_per_class", "validation_per_class", "test_per_class")
    return SweepConfig.model_validate(
        {
            "name": f"text-{asked.name}-floors",
            "config": {
                "stream": {key: value for key, value in stream(asked.name, asked.data).items() if key not in caps},
                "scenario": "class",
                "backbone": {"id": "minilm", "max_length": 128},
                "lora": {"rank": 8, "alpha": 16, "dropout": 0.0, "targets": "attention", "layers": "last 3"},
                "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.002, "precision": asked.precision},
                "seed": 0,
            },
            "runs": [
                *({"method": "frozen", "head": head} for head in (*SOLVED, "linear")),
                *({"method": "frozen", "head": head, "scenario": "task"} for head in (*SOLVED, "linear")),
                {"method": "sequential", "scenario": "task"},
            ],
            "output": str(asked.output),
        }
    )


def row(folder: Path, precision: str) -> dict[str, JsonValue]:
    """What one run of the table is."""
    record = read_record(folder)
    metrics = {metric.name: metric.value for metric in metrics_of_path(folder).metrics}
    strategies = record.settings["strategies"]
    assert isinstance(strategies, list)
    kinds = [str(strategy["kind"]) for strategy in strategies if isinstance(strategy, dict)]
    gates = [
        file.stat().st_size for file in folder.glob("gates/*.safetensors")
    ]  # of each task; the last is the largest
    return {
        "method": record.method if len(kinds) < 2 else " + ".join(kinds),
        "scenario": record.scenario,
        "seed": record.seed,
        "tasks": list(record.tasks),
        "train_texts": sum(task.train for task in record.data),
        "test_texts": sum(task.test for task in record.data),
        **{name: metrics[name] for name in ("accuracy", "average_incremental_accuracy", "forgetting", "task_accuracy")},
        "seconds": round(sum(cost.seconds for cost in record.cost), 1),
        "remembered_bytes": max(cost.strategy_bytes for cost in record.cost) + max(gates, default=0),
        "precision": precision,
    }


def joined(old: Mapping[str, JsonValue], new: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What a call measured, and the rows of other methods that earlier calls measured, each with its call.

    Args:
        old: the JSON so far, empty where there is none.
        new: what `evidence` is to write.
    """
    methods = {str(found["method"]) for found in _rows(new["runs"])}
    origin = {name: old[name] for name in ORIGIN if name in old}
    rows, floors = ([{"call": origin, **found} for found in _rows(old.get(key, []))] for key in ("runs", "floors"))
    before = [found for found in rows if found["method"] not in methods]
    chosen, searched = ({**_part(old.get(key, {})), **_part(new[key])} for key in ("chosen_on_validation", "searched"))
    return {
        **new,
        "chosen_on_validation": chosen,
        "searched": searched,
        "runs": [*before, *_rows(new["runs"])],
        "floors": [*(_rows(new["floors"]) or floors)],
    }


def _rows(value: JsonValue) -> list[dict[str, JsonValue]]:
    assert isinstance(value, list)
    return [found for found in value if isinstance(found, dict)]


def _part(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", choices=list(STREAMS))
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--methods", nargs="+", choices=ROWS, default=ROWS, metavar="METHOD", help="these rows alone")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 is faster on some CPUs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    given = parser.parse_args()
    if given.data is None and given.stream != "docstrings":
        parser.error(f"{given.stream} needs --data FOLDER")
    whole = tuple(given.methods) == ROWS
    asked = Asked(given.stream, given.data, given.output, given.precision, tuple(given.methods))
    configs = [plan(asked)] if {*given.methods} - {LISTED, TOLD} else []
    configs += [listed(asked)] if LISTED in given.methods else []
    configs += [told(asked)] if TOLD in given.methods else []
    tables = len(configs)
    configs += [floors(asked)] if whole and given.stream == "five-texts" else []
    started = time.perf_counter()
    results = [sweep(config, given.workers, live=False) for config in configs]
    seconds = time.perf_counter() - started
    for result in results:
        assert not result.failures, result.failures
    rows = [[row(folder, given.precision) for folder in find_runs([result.folder]).runs] for result in results]
    studies = {
        f"{study.label} listed" if config.name.endswith("-listed") else study.label: study
        for config in configs
        for study in plan_studies(config)
    }
    chosen: dict[str, JsonValue] = {
        label: dict(study.chosen.settings) for label, study in studies.items() if study.chosen is not None
    }
    searched: dict[str, JsonValue] = {
        label: {key: setting.model_dump(mode="json") for key, setting in study.search.space.items()}
        for label, study in studies.items()
    }
    numbers: dict[str, JsonValue] = {
        "scenario": STREAMS[given.stream]["scenario"],
        "planned_runs": sum(len(plan_runs(config)) for config in configs),
        "minutes": round(seconds / 60, 1),
        "learned_now": sum(result.done for result in results),
        "chosen_on_validation": chosen,
        "searched": searched,
        "runs": [found for table in rows[:tables] for found in table],
        "floors": [found for table in rows[tables:] for found in table],
    }
    path = evidence.path(f"text-{given.stream}")
    if not whole and path.exists():
        numbers = joined(json.loads(path.read_text(encoding="utf-8")), numbers)
    command = f"python -m benchmarks.text {given.stream}{'' if given.data is None else ' --data FOLDER'}"
    command += "" if whole else f" --methods {shlex.join(given.methods)}"
    command += "" if given.precision == "fp32" else f" --precision {given.precision}"
    evidence.write(f"text-{given.stream}", numbers, command)


if __name__ == "__main__":
    main()
