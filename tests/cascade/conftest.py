"""A tree of two levels over the toy stream, and a flat classifier of its leaves: each learned once, in seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import plora
from plora.config import load_config
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
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.02},
        "output": str(output),
    }


@pytest.fixture(scope="session")
def learned(
    tiny_backbone: Path, toy_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    """Folders of runs: `tree`, `tree-1` of another seed, `flat`, and `toy`, which learned the tasks without a tree."""
    output = tmp_path_factory.mktemp("cascades")
    values = tree_values(tiny_backbone, toy_files, output)
    source = values["stream"]["of"]  # type: ignore[index]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLORA_CACHE", str(output / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield {
            "tree": plora.run(load_config(values)),
            "tree-1": plora.run(load_config(values, ["seed=1"])),
            "flat": plora.run(
                load_config({**values, "stream": source}, ["name=flat", "scenario=class", "method=joint"])
            ),
            "toy": plora.run(load_config({**values, "stream": source}, ["name=toy"])),
        }
