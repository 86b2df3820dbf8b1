"""Runs of causal language models: every method that needs no classes learns documents through the one loop."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_writers import write

sys.path.append(str(Path(__file__).parents[1] / "training"))
from killing import quiet

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.results import read_record
from plora.runs import evaluate, run, verify

Make = Callable[..., RunConfig]


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def make(gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    monkeypatch.setenv("PLORA_CACHE", str(tmp_path / "cache"))
    values = {
        "name": "languages",
        "stream": {"kind": "tiny_writers:WrittenStream"},
        "problem": {"kind": "causal_lm"},
        "scenario": "domain",
        "backbone": {"id": str(gpt2), "max_length": 32},
        "lora": {"rank": 2, "alpha": 4},
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 0.01, "log_every": 1},
    }
    return lambda *overrides: load_config(values, [*overrides, f"output={tmp_path / 'runs'}"])


@pytest.mark.parametrize(
    "settings",
    [
        ("method=sequential",),
        ("method=per_task", "scenario=task"),
        ("method=o_lora",),
        ("method=n_lora",),
        ("method=sd_lora",),
        ("method=gumbel_cl_lora",),
        ("method=inf_lora",),
        ("method=full", "training.learning_rate=0.001"),
        ("method=joint",),
        ("method=replay",),
        ("method=merged_average",),
        ("method=merged_ties",),
        ("method=merged_magmax",),
    ],
    ids=lambda settings: settings[0].removeprefix("method="),
)
def test_methods_learn_documents(make: Make, settings: tuple[str, ...]) -> None:
    config = make(*settings)
    run(config, quiet(), Workspace())
    record = read_record(config.folder)
    assert record.score.name == "nats_per_byte"
    assert np.isfinite(record.matrix[-1]).all()
    assert record.matrix[-1, 1] < record.matrix[0, 1]  # nats fell
    assert verify(config.folder).problems == ()
    assert evaluate(config.folder).changed == 0
