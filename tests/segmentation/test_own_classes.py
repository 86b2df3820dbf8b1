"""A slot of queries for each step of classes: each says where its own are, and all are told from these."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "training"))

from killing import quiet
from reference.own_classes import united_pixel
from tiny_scenes import VALUES

from plora.build import Workspace
from plora.config import RunConfig, load_config
from plora.errors import ConfigError, RunError
from plora.export import export
from plora.problems.own_classes import united
from plora.results import PixelCounts, class_steps, read_record
from plora.runs import evaluate, forget, run, segment, verify
from plora.runs.loading import load_run

Make = Callable[..., RunConfig]
STEPS = VALUES | {
    "stream": {"kind": "tiny_scenes:TinySteps"},
    "scenario": "class",
    "problem": {"kind": "semantic_segmentation", "score": "foreground_iou"},
    "method": "routed",
    "gate": {"kind": "own_classes"},
    "lora": None,
}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PLORA_TRUST_OWN_PARTS", "1")
    return lambda name, *settings: load_config(STEPS, [f"output={tmp_path / name}", *settings])


def test_all_slots_together_say_what_each_says_beside_what_is_none_of_its_own() -> None:
    torch.manual_seed(0)
    own = [range(3), range(3, 4), range(4, 6)]
    shares = [torch.randn(7, 2, 3).softmax(0) for _ in own]
    found = united(shares, [slice(rows.start, rows.stop) for rows in own])
    for y in range(2):
        for x in range(3):
            expected = united_pixel([one[:, y, x].tolist() for one in shares], [[*rows] for rows in own], 7)
            assert found[:, y, x].tolist() == pytest.approx(expected, rel=1e-5)
    assert not found[6].any()  # a class that no slot has learned


def test_a_single_slot_says_what_it_says_alone() -> None:
    alone = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(1)).softmax(0)
    assert torch.allclose(united([alone], [slice(0, 3)]), alone, atol=1e-6)
    certain = torch.tensor([0.0, 1.0, 0.0]).reshape(3, 1, 1)  # odds that have no end
    both = united([certain, certain.roll(1, 0)], [slice(0, 2), slice(2, 3)])
    assert both.isfinite().all()
    assert both.flatten().tolist() == pytest.approx([0, 0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize("answer", ["queries", pytest.param("patches", marks=pytest.mark.slow)])
def test_a_later_step_takes_nothing_from_an_earlier_one(make: Make, answer: str) -> None:
    """Squares, then stripes, on scenes that show both: one slot for both forgets squares, which are background then."""
    rate = ("training.epochs=12", "training.learning_rate=0.01", f"problem.answer={answer}")
    forgot = run(make("one", *rate, "method=sequential", "gate=null"), quiet(), Workspace())
    own = run(make("own", *rate), quiet(), Workspace())
    (_, without), (first, kept) = (class_steps(path, read_record(path)) for path in (forgot, own))
    assert without.old < 0.1
    assert kept.old > max(0.2, 0.7 * first.new)  # what the second slot takes for stripes
    assert kept.new > 0.05

    record = read_record(own)
    assert record.passes == 2
    counts = PixelCounts.read(own / "predictions/task-02.parquet").confusion()
    assert counts[1, 1] > counts[1, 2]
    assert not verify(own).problems
    assert evaluate(own).changed == 0


def test_one_pass_for_each_slot_and_all_of_them_in_what_is_said(make: Make, tmp_path: Path) -> None:
    folder = run(make("run", "training.epochs=1", "stream.number=4"), quiet(), Workspace())
    parts, _, _ = load_run(folder)
    model, test = parts.model.eval(), parts.tasks[0].splits["test"]
    batch = test.collate(np.arange(len(test)))
    with torch.inference_mode():
        together = model.outputs(batch)
        for number, slot in enumerate(model.adapters.names):
            alone = model.outputs(batch, slot)
            assert all(torch.equal(together[name][:, number], alone[name]) for name in alone)
        assert together["own"].tolist() == [[0, 2], [2, 3]]
        for shares in model.problem.scores(together, batch, np.ones(3, np.bool_)):
            assert torch.allclose(shares.sum(0), torch.ones(()), atol=1e-4)
    (found,) = segment(folder, [np.zeros((20, 30, 3), np.uint8)])
    assert found.classes.shape == (20, 30)
    with pytest.raises(RunError, match="task"):
        export(folder, tmp_path / "shared", merged=True)
    with pytest.raises(RunError, match="answers by all tasks' slots together"):
        forget(folder, read_record(folder).tasks[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("scenario=domain", "stream={kind: 'tiny_scenes:TinyScenes'}"), "all have the same"),
        (("modules=[mask_head]",), "has its own query and class_predictor; name them"),
        (("problem.outlier={score: msp}",), "no slot knows all classes"),
        (("method=sequential",), "has one slot"),
        (("gate=null",), "set gate=.kind: own_classes."),
    ],
)
def test_what_has_no_meaning_is_refused(make: Make, settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make("refused", *settings)


def test_other_problems_have_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="problem 'text_classification' has no pixels"):
        load_config(
            {
                "stream": {"kind": "docstring_topics"},
                "scenario": "class",
                "method": "routed",
                "gate": {"kind": "own_classes"},
                "backbone": {"id": "minilm"},
            }
        )
