"""Two tasks of short documents, and runs of a tiny language model that learns them by heart."""

from pathlib import Path
from typing import Literal

from tiny_writers import write

from plora.config import RunConfig, load_config
from plora.runs import run
from plora.streams.base import Stream, StreamSource, Task
from plora.streams.documents import Documents

SEA, LAND = "the waves roll to the shore", "a cow stood in the field"


class Sayings(StreamSource):
    """Each task says one thing again and again."""

    kind: Literal["sayings:Sayings"] = "sayings:Sayings"

    def load(self) -> Stream:
        """Return the tasks."""
        splits = {name: Documents((text,) * 8) for name, text in (("sea", SEA), ("land", LAND))}
        tasks = tuple(Task(name, (), split, split, split) for name, split in splits.items())
        return Stream("sayings", tasks, ("task", "domain"))


def config(base: Path, output: Path, *overrides: str) -> RunConfig:
    """Return the config of a run on a base that `write` wrote; it learns its documents by heart."""
    training = {"epochs": 60, "batch_size": 8, "learning_rate": 0.02, "weight_decay": 0, "early_stop": None}
    values = {
        "name": "sayings",
        "stream": {"kind": "sayings:Sayings"},
        "problem": {"kind": "causal_lm"},
        "scenario": "task",
        "backbone": {"id": str(base), "max_length": 64},
        "lora": {"rank": 8, "alpha": 16, "targets": "all_linear", "dropout": 0},
        "training": training,
        "output": str(output),
    }
    return load_config(values, overrides)


def learned(folder: Path, *overrides: str, kind: str = "gpt2") -> Path:
    """Do a run on a base of its own, in a new folder; returns the run's."""
    base = write(folder / "base", kind)
    return run(config(base, folder / "runs", *overrides))
