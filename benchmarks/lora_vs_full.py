"""LoRA against training all of a language model, as committed JSON.

`python -m benchmarks.lora_vs_full compare random ranks presets` makes the base where it is missing; a sweep that was
cut goes on, and one that is done is read. `--quick` is the comparison on the small base with little text and two rates:
it shows that all of it runs, and its numbers, which say nothing else, go to the folder of the runs.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from benchmarks import evidence
from plora import atomic
from plora.config import load_config
from plora.configs import find_config, find_sweep
from plora.results import SCORES, Measurements, TokenLikelihoods, read_record
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate_on, write_side_by_side
from plora.runs.pretraining import make_missing
from plora.streams import Corpora
from plora.streams.documents import Documents
from plora.sweep import SweepConfig, SweepRun, load_sweep, plan_runs, plan_studies, sweep
from plora.sweep.search import OneOf

SWEEPS = {
    "compare": "lora-vs-full",
    "random": "lora-vs-full-random",
    "ranks": "lora-ranks",
    "presets": "lora-vs-full-presets",
}
QUICK: dict[str, JsonValue] = {
    "backbone.id": "pretrained:causal_lm/base_small",
    "stream.train_bytes": 150_000,
    "stream.validation_bytes": 20_000,
    "stream.test_bytes": 30_000,
}
QUICK_RATES = OneOf([0.001, 0.01])
PROMPTS, PROMPT_WORDS = 16, 8
SHOWN = ("nats_per_byte", "nats_per_token", "perplexity")


def scores(found: Measurements) -> dict[str, JsonValue]:
    """What is told of some held-out text."""
    return {name: found.value(SCORES[name]) for name in SHOWN}


def row(run: SweepRun) -> dict[str, JsonValue]:
    """What one run of one task is: before and after, on text of its own kind and of its base's."""
    folder, record = RunFolder(run.folder), read_record(run.folder)
    config = folder.read_config()  # with the settings that were chosen for it
    assert isinstance(config.stream, Corpora)
    before, after = (TokenLikelihoods.read(folder.predictions(number)) for number in (0, 1))
    base = load_config(find_config(config.backbone.id.removeprefix("pretrained:"))).stream
    base_before, base_after = (tasks["base"] for tasks in evaluate_on(run.folder, base).rows.values())
    cost = record.cost[0]
    slots = config.lora is not None and config.row.slots != "none"
    return {
        "label": run.label,
        "method": record.method,
        "split": config.stream.split,
        "rank": config.lora.rank if config.lora is not None and slots else None,
        "targets": str(config.lora.targets) if config.lora is not None and slots else None,
        "modules": [*config.modules],
        "learning_rate": config.training.learning_rate,
        "epochs": config.training.epochs,
        "adapted": {"before": scores(before), "after": scores(after)},
        "base": {"before": scores(base_before), "after": scores(base_after)},
        "trainable": cost.trainable_parameters,
        "seconds": round(cost.seconds, 1),
        "tokens": cost.tokens,
        "tokens_per_second": None if cost.tokens is None else round(cost.tokens / cost.seconds),
        "peak_memory_bytes": cost.peak_memory_bytes,
        "stored_bytes": cost.stored_bytes,
    }


def _split(run: SweepRun) -> str:
    stream = run.config.stream
    assert isinstance(stream, Corpora)
    return stream.split


def written(planned: Sequence[SweepRun], split: str) -> list[JsonValue]:
    """What the runs of one split write after the beginnings of held-out documents, and how well it reads."""
    runs = {one.folder: one for one in planned if _split(one) == split}
    stream = next(iter(runs.values())).config.stream
    assert isinstance(stream, Corpora)
    test = stream.load().tasks[0].test
    assert isinstance(test, Documents)
    texts = [text for text in test.texts if isinstance(text, str)]
    long = [text for text in texts if len(text.split()) >= 4 * PROMPT_WORDS][:PROMPTS]
    prompts = [" ".join(text.split()[:PROMPT_WORDS]) for text in long]
    return [
        {
            "split": split,
            "run": runs[found.run].label,
            "distinct": {str(n): share for n, share in found.distinct.items()},
            "repeated": found.repeated,
            "nats_per_byte": {runs[judge].label: value for judge, value in found.nats_per_byte.items()},
            "ended": sum(one.ended for one in found.continuations),
            "texts": [{"prompt": one.prompt, "text": one.text} for one in found.continuations],
        }
        for found in write_side_by_side([*runs], prompts, tokens=64)
    ]


def quick(config: SweepConfig) -> SweepConfig:
    """The same sweep, small."""
    search = config.search
    assert search is not None
    small = search.model_copy(update={"trials": 2, "at_once": 2, "space": {"training.learning_rate": QUICK_RATES}})
    settings = {**config.settings, **QUICK}
    return config.model_copy(update={"name": f"{config.name}-quick", "settings": settings, "search": small})


def measure(config: SweepConfig, workers: int) -> Mapping[str, JsonValue]:
    """Make the base and run what is missing of a sweep, and read all of it."""
    started = time.perf_counter()
    planned = plan_runs(config)
    make_missing(one.config for one in planned)
    made = time.perf_counter()
    result = sweep(config, workers, live=False)
    assert not result.failures, result.failures
    searched: dict[str, JsonValue] = {}
    chosen: dict[str, JsonValue] = {}
    if config.search is not None:
        searched = {key: [*(setting.values() or ())] for key, setting in config.search.space.items()}
        chosen = {study.label: dict(study.chosen.settings) for study in plan_studies(config) if study.chosen}
    return {
        "runs": [row(one) for one in planned],
        "continuations": [one for split in dict.fromkeys(map(_split, planned)) for one in written(planned, split)],
        "chosen_on_validation": chosen,
        "searched": searched,
        "seconds_to_make_the_base": round(made - started),
        "seconds_of_this_call": round(time.perf_counter() - started),
        "workers": workers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(SWEEPS)}; all where none is named")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--quick", action="store_true", help="the comparison alone, small")
    given = parser.parse_args()
    if strange := [part for part in given.parts if part not in SWEEPS]:
        parser.error(f"'{strange[0]}' is none of {', '.join(SWEEPS)}")
    for part in ["compare"] if given.quick else given.parts or [*SWEEPS]:
        config = load_sweep(find_sweep(f"sweeps/{SWEEPS[part]}"), [f"output={given.output}"])
        if given.quick:
            file = given.output / "lora-vs-full-quick.json"
            atomic.write_json(file, dict(measure(quick(config), given.workers)))
            print(f"wrote {file}", flush=True)
            continue
        numbers = measure(config, given.workers)
        evidence.write(f"lora-{part}", numbers, f"python -m benchmarks.lora_vs_full {part} --workers {given.workers}")


if __name__ == "__main__":
    main()
