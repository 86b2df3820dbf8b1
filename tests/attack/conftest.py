"""Runs that are attacked, and how each verb ends on those that nobody touched."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]
from attempts import VERBS, Outcome
from cases import RUNS, Attacked, make_runs
from killing import in_child, quiet

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.runs import run

QUICK = 2
"""Cases of each attack that the fast tests run; the others are slow: most of them attack elsewhere what these do."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but the first cases of each attack as slow, before the fast ones are chosen."""
    seen = Counter[str]()
    for item in items:
        if item.path.parent == Path(__file__).parent and isinstance(item, pytest.Function):
            name = f"{item.path.name}::{item.originalname}"
            seen[name] += item.get_closest_marker("slow") is None
            if seen[name] > QUICK:
                item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def attacked(
    tiny_backbone: Path, toy_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Attacked]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLORA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield make_runs(tiny_backbone, toy_files, tmp_path_factory.mktemp("attack"))


@pytest.fixture(scope="session")
def expected(attacked: Attacked) -> dict[tuple[str, str], Outcome]:
    """How each verb ends on each run that nobody touched."""
    found = {}
    for name in RUNS:
        outcomes = attacked.attempt(*((verb, attacked.copy(name)) for verb in VERBS))
        found |= {(name, verb): outcome for verb, outcome in zip(VERBS, outcomes, strict=True)}
    return found


@pytest.fixture(scope="session")
def config(
    toy_files: dict[str, Path], tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., RunConfig]:
    """A config of two tasks that are learned in a second."""
    tasks = [{"name": name, "train": str(toy_files[f"{name}-test"])} for name in ("food", "travel")]
    values = {
        "stream": {"kind": "local", "tasks": tasks},
        "method": "per_task",
        "backbone": {"id": str(tiny_backbone), "max_length": 16},
        "lora": {"rank": 2},
        "training": {"epochs": 1, "batch_size": 8, "log_every": 1},
    }
    return lambda *more: load_config(values, [f"output={tmp_path_factory.mktemp('run')}", *more])


@pytest.fixture(scope="session")
def whole(config: Callable[..., RunConfig]) -> Path:
    """A finished run that has forgotten nothing, for all to copy."""
    made = config()
    assert in_child(lambda: run(made, quiet(), Workspace())) == 0
    return made.folder
