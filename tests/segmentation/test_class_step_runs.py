"""Two steps of classes through the one loop: what is forgotten, what is held, what the tables say."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import KILLED, in_child, quiet
from tiny_scenes import CLASSES, VALUES

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.errors import RunError
from plora.results import PixelCounts, class_steps, class_steps_table, read_record, write_table
from plora.results.record.manifest import read_checkpoint
from plora.run_folder.folder import RunFolder
from plora.runs import evaluate, resume, run, verify

Make = Callable[..., RunConfig]
STEPS = VALUES | {"stream": {"kind": "tiny_scenes:TinySteps"}, "scenario": "class"}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    return lambda name, *settings: load_config(STEPS, [f"output={tmp_path / name}", *settings])


def learned(config: RunConfig) -> Path:
    return run(config, quiet(), Workspace())


LONG = ("training.epochs=12", "training.learning_rate=0.01", "problem.score=foreground_iou", "method=lwf")


def held(weight: float) -> tuple[str, ...]:
    return (f"strategies=[{{kind: distillation, weight: {weight}, temperature: 1}}]",)


@pytest.mark.parametrize("answer", ["patches", "queries"])
def test_old_answers_behind_the_background_are_held(make: Make, answer: str) -> None:
    """The same scenes in both steps: of the second, squares are background, and without old answers they are lost."""
    found = {}
    for weight in (0, 20):
        path = learned(make(f"of-{weight}", *LONG, f"problem.answer={answer}", *held(weight)))
        found[weight] = class_steps(path, read_record(path))
    assert [step.classes for step in found[0]] == [("ground", "square"), ("stripe",)]
    print(found)
    assert found[0][0] == found[20][0]  # the first step has nothing old
    assert found[0][0].new > 0.3
    assert found[0][1].old < 0.1
    assert found[20][1].old > found[0][1].old + 0.2
    assert found[20][1].new > 0.1
