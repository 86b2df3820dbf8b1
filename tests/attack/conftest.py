"""Runs that are attacked, and how each verb ends on those that nobody touched."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "training")]
from attempts import VERBS, Outcome
from cases import RUNS, Attacked, make_runs


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
