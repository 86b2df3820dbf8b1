"""The shipped sweeps on images, as committed JSON: `python -m benchmarks.images glyphs omniglot photographs emoji`.

A sweep that was cut goes on, and one that is done is read. Those of data that plora does not ship need them: the folder
in which it is called has what the sweep's file names, or `--data FOLDER` does.
"""

import argparse
import os
import time
from pathlib import Path
from statistics import fmean, stdev

from pydantic import JsonValue
from scipy import stats

from benchmarks import evidence
from benchmarks.digits import row
from plora.configs import find_sweep
from plora.results import read_record
from plora.run_folder.folder import RunFolder
from plora.runs.pretraining import make_missing
from plora.streams.glyphs import Glyphs
from plora.streams.image_stream import ImageStream
from plora.sweep import SweepConfig, SweepRun, load_sweep, plan_runs, plan_studies, sweep

FLOOR = "frozen-ranpac"
_KNOWN = ("method=", "head=", "seed=", "stream.class_seed=", "problem.augment=")


def found(run: SweepRun) -> dict[str, JsonValue]:
    """What one run of the table is."""
    record, config = read_record(run.folder), RunFolder(run.folder).read_config()
    extra = " ".join(part for part in run.label.split(" ") if not part.startswith(_KNOWN))
    own = row(run.folder)
    state = record.slot_states[-1] if record.slot_states else None
    assert isinstance(config.stream, Glyphs | ImageStream)
    return {
        **own,
        "method": f"{own['method']} {extra}".strip(),
        "class_seed": config.stream.class_seed,
        "active_slots": None if state is None else state.active,
        "kept_bytes": record.cost[-1].kept_bytes,
        "passes": record.passes,
    }


def paired(rows: list[dict[str, JsonValue]], method: str, against: str) -> dict[str, JsonValue] | None:
    """Points of ACC by which a method is above another on the same seeds and orders, with a t interval.

    A head that is solved on frozen features has no seed: its one run of an order stands for all seeds.
    """
    own = {(one["seed"], one["class_seed"]): float(str(one["accuracy"])) for one in rows if one["method"] == method}
    other = {(one["seed"], one["class_seed"]): float(str(one["accuracy"])) for one in rows if one["method"] == against}
    of_order = {order: value for (_, order), value in other.items()} if against == FLOOR else {}
    pairs = {key: other.get(key, of_order.get(key[1])) for key in own}
    apart = [100 * (own[key] - value) for key, value in pairs.items() if value is not None]
    if method == against or len(apart) < 3:
        return None
    half = float(stats.t.ppf(0.975, len(apart) - 1)) * stdev(apart) / len(apart) ** 0.5
    mean = fmean(apart)
    return {
        "method": method,
        "against": against,
        "pairs": len(apart),
        "points": mean,
        "interval": [mean - half, mean + half],
    }


def measure(config: SweepConfig, workers: int) -> dict[str, JsonValue]:
    """Run what is missing of a sweep, and read all of it."""
    started = time.perf_counter()
    planned = plan_runs(config)
    make_missing(one.config for one in planned)
    result = sweep(config, workers, live=False)
    assert not result.failures, result.failures
    rows = [found(one) for one in planned]
    chosen: dict[str, JsonValue] = {
        study.label: dict(study.chosen.settings) for study in plan_studies(config) if study.chosen is not None
    }
    space = {} if config.search is None else config.search.space
    searched: dict[str, JsonValue] = {key: [*(setting.values() or ())] for key, setting in space.items()}
    methods = dict.fromkeys(str(one["method"]) for one in rows)
    against: list[JsonValue] = [
        pair
        for method in methods
        for other in (FLOOR, "joint", "sequential")
        if (pair := paired(rows, method, other)) is not None
    ]
    return {
        "runs": [*rows],
        "paired": against,
        "chosen_on_validation": chosen,
        "searched": searched,
        "seconds_of_this_call": round(time.perf_counter() - started),
        "workers": workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", nargs="+", help="names of shipped sweeps")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--data", type=Path, default=Path(), help="folder with the data that sweeps name")
    given = parser.parse_args()
    output = given.output.absolute()
    os.chdir(given.data)
    for name in given.sweeps:
        numbers = measure(load_sweep(find_sweep(f"sweeps/{name}"), [f"output={output}"]), given.workers)
        evidence.write(f"images-{name}", numbers, f"python -m benchmarks.images {name} --workers {given.workers}")


if __name__ == "__main__":
    main()
