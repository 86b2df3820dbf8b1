"""Two tasks of label sets and two of numbers, over the words of the toy stream, that networks learn in seconds."""

import json
import random
from pathlib import Path

WORDS = {
    "food": [["apple", "pear", "plum"], ["loaf", "crust", "rye"], ["grape", "bun"]],
    "travel": [["train", "track", "ticket"], ["plane", "runway", "pilot"], ["platform", "wing"]],
}
"""By task: the words of each of its three labels."""
LABELS = {"food": ["bread", "fruit", "sweet"], "travel": ["air", "rail", "slow"]}
FILLER = ["the", "a", "of", "and", "in", "very", "old"]
UNIT = {"food": (1000.0, 100.0), "travel": (-3.0, 0.5)}
"""By task: what a number begins at, and how much each word of the first label adds."""


def rows(task: str, count: int, seed: int) -> list[dict[str, object]]:
    """Texts with labels by their words, and a number by how many words of the first label they have."""
    rng = random.Random(f"{task} {seed}")
    found = []
    for _ in range(count):
        has = [rng.random() < 0.4 for _ in range(3)]
        times = rng.randint(0, 4)
        words = [rng.choice(own) for own, there in zip(WORDS[task], has, strict=True) if there for _ in range(2)]
        counted = [*rng.choices(WORDS[task][0], k=times), *rng.choices(FILLER, k=5 - times)]
        filler = rng.choices(FILLER, k=3)
        start, step = UNIT[task]
        labels = [name for name, there in zip(LABELS[task], has, strict=True) if there]
        text = [*words, *filler]
        rng.shuffle(text)
        found.append(
            {
                "text": " ".join(text),
                "labels": labels,
                "counted": " ".join(counted),
                "target": start + step * times,
                "both": [start + step * times, 7.0 - times],
            }
        )
    return found


def write(folder: Path, count: int = 96, test: int = 48) -> dict[str, Path]:
    """Write JSON lines of each task and split, by `<task>-<split>`."""
    files = {}
    for task in WORDS:
        for number, (split, size) in enumerate((("train", count), ("validation", test), ("test", test))):
            files[f"{task}-{split}"] = folder / f"{task}-{split}.jsonl"
            lines = (json.dumps(row) for row in rows(task, size, number))
            files[f"{task}-{split}"].write_text("\n".join(lines), encoding="utf-8")
    return files


def values(folder: Path, backbone: Path, kind: str, count: int = 96, test: int = 48) -> dict[str, object]:
    """Return a config: `kind` is `label_sets` or `numbers`."""
    files = write(folder, count, test)
    columns = {"label_sets": {"labels": "labels"}, "numbers": {"targets": "target", "text": "counted"}}[kind]
    problem = {"label_sets": {"kind": "text_multi_label"}, "numbers": {"kind": "text_regression", "unit": "words"}}
    tasks = [
        {"name": task, **{split: str(files[f"{task}-{split}"]) for split in ("train", "validation", "test")}, **columns}
        for task in WORDS
    ]
    return {
        "name": kind,
        "stream": {"kind": kind, "tasks": tasks},
        "problem": problem[kind],
        "scenario": "task",
        "method": "sequential",
        "backbone": {"id": str(backbone), "max_length": 16},
        "lora": {"rank": 4, "alpha": 8, "targets": "attention"},
        "training": {"epochs": 6, "batch_size": 8, "learning_rate": 0.02, "log_every": 4},
        "output": str(folder / "runs"),
    }
