"""A tree of two levels over the toy stream, and a flat classifier of its leaves: each learned once, in seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_tree import tree_values

import plora
from plora.config import load_config


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
