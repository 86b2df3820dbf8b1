"""Every method learns to tag words, or says why it cannot."""

import sys
from pathlib import Path

import pytest
from tiny_sentences import stream_values, values, write_reader

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import quiet

from plora.build import Workspace
from plora.config import load_config
from plora.methods import METHODS
from plora.results import read_record
from plora.runs import run, verify

REFUSED = ("first_session", "routed", "gain_lora", "ewc", "online_ewc", "ewc_lora", "der", "generative_replay")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("every-method")


@pytest.fixture(scope="module")
def workspace() -> Workspace:
    return Workspace()


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name not in REFUSED])
def test_a_method_learns_to_tag(world: Path, workspace: Workspace, method: str) -> None:
    reader = world / "reader"
    plain = values(world, reader if reader.exists() else write_reader(reader))
    plain["stream"] = stream_values(world, 12)
    scenario = next(one for one in ("domain", "task") if one not in METHODS[method].refusals)
    if scenario == "domain":  # the same tags in both tasks
        first = plain["stream"]["tasks"][0]
        plain["stream"]["tasks"] = [first, {**first, "name": "again"}]
    overrides = [f"method={method}", f"scenario={scenario}", "training.epochs=1"]
    folder = run(load_config(plain, overrides), quiet(), workspace)
    assert read_record(folder).complete
    assert verify(folder).problems == ()
