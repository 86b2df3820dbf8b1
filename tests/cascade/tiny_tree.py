"""A tree of two levels over the toy stream."""

from pathlib import Path

from tests.conftest import TOPICS


def tree_values(tiny_backbone: Path, toy_files: dict[str, Path], output: Path) -> dict[str, object]:
    """The values of a config that learns the tree of the toy stream."""
    tasks = [
        {"name": task, "train": str(toy_files[f"{task}-train"]), "test": str(toy_files[f"{task}-test"])}
        for task in TOPICS
    ]
    return {
        "name": "tree",
        "stream": {"kind": "tree", "of": {"kind": "local", "name": "toy", "tasks": tasks}},
        "scenario": "task",
        "method": "per_task",
        "backbone": {"id": str(tiny_backbone), "max_length": 16},
        "lora": {"rank": 4, "alpha": 8, "targets": "attention"},
        "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.02},
        "output": str(output),
    }
